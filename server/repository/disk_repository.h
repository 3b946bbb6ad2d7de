// The ModelRepository on a folder:
//
//   <root>/<name>/config.pbtxt        optional, model_config.h
//   <root>/<name>/<version>/model.onnx
//   <root>/<name>/promoted_version    written by Promote, promoted_version.h
//
// A version that cannot be served leaves what was served before in place: an intact version of the
// same number that is in memory, or the next older one on disk. A file is read only if it did not
// change meanwhile; polling waits until two looks in a row saw the same.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "server/metrics/metrics.h"
#include "server/repository/busy_names.h"
#include "server/repository/load_version.h"
#include "server/repository/model_evictor.h"
#include "server/repository/model_reaper.h"
#include "server/repository/model_scan.h"
#include "server/repository/model_table.h"
#include "server/repository/model_waker.h"
#include "server/repository/repository.h"

namespace bitmill {

class DiskRepository final : public ModelRepository {
 public:
  // NotFound or InvalidArgument unless the root is a folder. Nothing is loaded yet. `metrics` is
  // borrowed like `parts`.
  static absl::StatusOr<std::unique_ptr<DiskRepository>> Create(const RepositoryOptions& options,
                                                                LoaderParts parts,
                                                                ServerMetrics& metrics);
  // Stops, unloads everything and waits until it is freed (ModelReaper::kStopSeconds at most).
  ~DiskRepository() override;

  // Loads what the mode asks for and returns when all has been tried; then, in poll mode, begins to
  // poll. Call it once.
  void LoadAtStart();
  // One look at the disk: loads what is new or changed and stable, unloads what is gone. True when
  // a change was seen that is not stable yet. For the polling thread, and tests.
  bool PollOnce();
  // No load begins from now on (Unavailable); ends LoadAtStart early, the polling thread, and the
  // waiting for evicted models.
  void Stop();

  absl::StatusOr<ModelHandle> Find(absl::string_view name, int64_t version) const override {
    return table_.Find(name, version);
  }
  absl::StatusOr<std::vector<ModelHandle>> Versions(absl::string_view name) const override {
    return table_.Versions(name);
  }
  std::vector<ModelHandle> AllReady() const override { return table_.AllReady(); }
  absl::StatusOr<AnsweringVersions> Answering(absl::string_view name) const override {
    return table_.Answering(name);
  }
  absl::StatusOr<ModelDescriptionHandle> Describe(absl::string_view name,
                                                  int64_t version) const override {
    return table_.Describe(name, version);
  }
  absl::StatusOr<std::vector<ModelDescriptionHandle>> DescribeAll(
      absl::string_view name) const override {
    return table_.DescribeAll(name);
  }
  bool Wake(absl::string_view name, Woken then) override;
  MemoryReport Memory() const override { return evictor_.Report(); }
  absl::Status Promote(absl::string_view name, int64_t version) override;
  std::vector<IndexEntry> Index() const override;
  absl::Status Load(absl::string_view name) override;
  absl::Status Unload(absl::string_view name) override;
  bool Started() const override { return started_; }
  bool AllStartedReady() const override;
  void SetChangeListener(std::function<void()> on_change) override;

 private:
  // What the last load saw on disk.
  struct Tried {
    ModelOnDisk on_disk;
    std::string filename;
  };

  // Of an evicted model: what to load, and the room that was made for it.
  struct Reloading {
    std::vector<int64_t> versions;  // newest first
    std::unique_ptr<MemoryHold> room;
  };

  DiskRepository(const RepositoryOptions& options, std::string real_root, LoaderParts parts,
                 ServerMetrics& metrics);

  std::vector<std::string> NamesToStart() const;
  void LoadFirst(const std::string& name);
  absl::StatusOr<std::vector<ModelHandle>> Reload(const std::string& name);
  // These run while the name is held by busy_. `reloading` is null for a load that was asked for.
  absl::Status LoadCaught(const std::string& name, Reloading* reloading);
  absl::Status LoadHeld(const std::string& name, Reloading* reloading);
  absl::Status LoadVersions(const std::string& name, const ModelOnDisk& on_disk,
                            const GivenConfig& config, Reloading* reloading);
  absl::StatusOr<LoadedVersion> LoadOne(const std::string& name, int64_t version,
                                        const ModelOnDisk& on_disk, const GivenConfig& config,
                                        Reloading* reloading);
  void UnloadHeld(const std::string& name);

  // Keeps what is served, notes why nothing newer is.
  absl::Status Fail(const std::string& name, const absl::Status& status);
  void Publish(const std::string& name, ModelTable::Entry entry);
  void NotifyChange() const;
  Tried TriedBefore(const std::string& name) const;
  bool PollModel(const std::string& name);
  void Poll();

  const RepositoryOptions options_;
  const std::string real_root_;
  const LoaderParts parts_;
  ServerMetrics& metrics_;
  const SystemClock clock_;
  ModelTable table_;
  ModelReaper reaper_;  // after table_: destroyed before it, when table_ is already empty
  BusyNames busy_;

  std::atomic<bool> started_{false};
  std::atomic<bool> stopped_{false};
  mutable Mutex mutex_;
  CondVar stop_changed_;
  std::shared_ptr<const std::function<void()>> on_change_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> failed_at_start_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Tried> tried_ ABSL_GUARDED_BY(mutex_);

  std::map<std::string, ModelOnDisk> seen_;  // by the last look; the polling thread's own
  std::map<std::string, int> missing_;       // looks in a row that did not find it; likewise
  std::thread poller_;
  ModelEvictor evictor_;
  ModelWaker waker_;
};

}  // namespace bitmill
