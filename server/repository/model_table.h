// The versions that are served and what is known of the others: what requests and the index read.
// Writers change it in one short step; nothing is loaded, freed or called under its lock.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "server/repository/model_scan.h"
#include "server/repository/repository.h"

namespace bitmill {

// A version that is served, and what it was loaded from.
struct LoadedVersion {
  ModelHandle handle;
  int64_t reaper_id = 0;
  FileStamp file, config;
  ModelDescriptionHandle about;
  MonotonicNanos loaded_ns = 0;  // when it was ready
  int64_t load_ns = 0;           // how long that took
};

class ModelTable {
 public:
  struct VersionState {
    ModelState state = ModelState::kUnavailable;
    std::string reason;
  };
  struct Entry {
    ModelState state = ModelState::kUnavailable;  // of the model as a whole
    std::string reason;                           // why it is not ready
    std::map<int64_t, LoadedVersion> ready;
    // Of `ready`: answers requests that name no version; 0: the newest, none is held back.
    int64_t answering = 0;
    std::map<int64_t, VersionState> versions;  // all that were tried
    // What was in `ready`, while `ready` is empty: the model is served, and loaded when a request
    // comes.
    std::map<int64_t, ModelDescriptionHandle> evicted;
  };
  // A model that is ready, as whoever wants its memory sees it.
  struct Resident {
    std::string name;
    bool evictable = false;  // all of its versions
    bool idle = false;       // nobody has a handle
    MonotonicNanos last_use_ns = 0, loaded_ns = 0;
    int64_t load_ns = 0;
  };

  // As ModelRepository::Find and Versions.
  absl::StatusOr<ModelHandle> Find(absl::string_view name, int64_t version) const;
  absl::StatusOr<std::vector<ModelHandle>> Versions(absl::string_view name) const;
  std::vector<ModelHandle> AllReady() const;
  // As ModelRepository::Answering.
  absl::StatusOr<AnsweringVersions> Answering(absl::string_view name) const;

  // A copy, handles included: drop it soon. An empty entry when the name is not known.
  Entry Get(const std::string& name) const;
  std::vector<std::string> Names() const;
  // As ModelRepository::Describe and DescribeAll.
  absl::StatusOr<ModelDescriptionHandle> Describe(absl::string_view name, int64_t version) const;
  absl::StatusOr<std::vector<ModelDescriptionHandle>> DescribeAll(absl::string_view name) const;
  std::vector<Resident> Residents() const;
  // Turns the ready versions into evicted ones, and returns them; empty when there are none, or
  // when somebody has a handle of one and `only_idle`.
  std::map<int64_t, LoadedVersion> Evict(const std::string& name, bool only_idle);
  // Replaces the entry and returns the one before, whose handles the caller drops.
  Entry Put(const std::string& name, Entry entry);
  // Changes only how the model as a whole is described.
  void SetState(const std::string& name, ModelState state, const std::string& reason);
  Entry Erase(const std::string& name);
  std::map<std::string, Entry> Clear();

 private:
  mutable SharedMutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
