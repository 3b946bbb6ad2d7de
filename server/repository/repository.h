// The models that are served: finds them on disk, compiles, replaces, unloads.
//
// A version that is served is immutable. Loading builds a new one beside it and swaps it in; a
// request that already holds a handle finishes on the old one. Lookups take no lock that a load
// holds.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/backend.h"
#include "backends/plan_cache.h"
#include "base/clock.h"
#include "server/metrics/answer_tap.h"
#include "server/repository/memory_ledger.h"
#include "server/repository/model_settings.h"

namespace bitmill {

// What the engine attaches to a version (its batcher and counters). Destroyed with the version,
// after the last handle is gone.
class ModelRuntime {
 public:
  virtual ~ModelRuntime() = default;
  // Finishes all queued work; nothing new arrives because no new handle is given out.
  virtual void Drain() = 0;
};

struct ServedModel {
  std::string name;
  int64_t version = 0;
  ModelSettings settings;
  std::string config_text;  // the complete ModelConfig (given or derived) in protobuf text format
  std::string plan_origin;  // CompiledModel::origin, for the log
  bool plan_from_file = false;
  int64_t load_begin_ns = 0;      // of the monotonic clock, when its file began to be read
  std::vector<MemoryUse> memory;  // weights and the arenas of all contexts
  std::unique_ptr<MemoryHold> memory_hold;  // given back once all that follows is destroyed
  std::unique_ptr<const Executable> executable;
  std::unique_ptr<ModelRuntime> runtime;
  std::shared_ptr<AnswerTap> tap;  // told of each answer; null unless settings.watch.on

  // A request wants it. Steps of a millisecond, so that threads do not write one word all the time.
  void Use(MonotonicNanos now) const {
    constexpr MonotonicNanos kStepNanos = 1'000'000;
    if (now - last_use_ns.load(std::memory_order_relaxed) >= kStepNanos) {
      last_use_ns.store(now, std::memory_order_relaxed);
    }
  }
  mutable std::atomic<MonotonicNanos> last_use_ns{0};  // 0: never
};

// What clients may know of a version, whether it is in memory or evicted.
struct ModelDescription {
  std::string name;
  int64_t version = 0;
  std::string platform, config_text;
  Signature signature;
  int64_t weight_bytes = 0;
};
std::shared_ptr<const ModelDescription> DescribeModel(const ServedModel& model);
using ModelDescriptionHandle = std::shared_ptr<const ModelDescription>;

// Keeps a version alive; drop it soon. Null never occurs.
using ModelHandle = std::shared_ptr<const ServedModel>;

// Called once a version, before it becomes visible; `model.runtime` is still null.
using RuntimeFactory =
    std::function<absl::StatusOr<std::unique_ptr<ModelRuntime>>(const ServedModel& model)>;

// kEvicted: served, but not in memory until the next request.
enum class ModelState : uint8_t { kLoading, kReady, kUnloading, kUnavailable, kEvicted };

struct IndexEntry {
  std::string name;
  int64_t version = 0;  // 0 when the model has no version that could be read
  ModelState state = ModelState::kUnavailable;
  std::string reason;  // why it is not ready
};

// Memory and who had to give it back, for the metrics.
struct MemoryReport {
  struct Evictions {  // of one model
    std::string model;
    bool evicted = false;  // now
    int64_t evictions = 0, reloads = 0, failed_reloads = 0;
    int64_t reload_ns = 0;  // of all reloads
    int64_t waited = 0;     // requests that waited for one
  };
  std::vector<MemoryLedger::Device> devices = {};
  std::vector<MemoryLedger::Holder> holders = {};
  std::vector<Evictions> models = {};  // by name; that were evicted once
};

// Of a model whose newest version is held back until it is promoted (parameter "shadow").
struct AnsweringVersions {
  int64_t answering = 0;  // requests that name no version are answered by it
  int64_t shadow = 0;     // the newest ready version, where it is another, newer one; 0: none
};

enum class ControlMode : uint8_t { kNone, kPoll, kExplicit };

struct RepositoryOptions {
  std::string root;
  ControlMode mode = ControlMode::kNone;
  std::vector<std::string> load_at_start;  // kExplicit: these, "*" for all
  int64_t poll_seconds = 15;
  std::string isa = "auto";
  PlanCacheOptions plan_cache;
  double tune_seconds = 0;  // CompileOptions::tune_seconds of a model which says nothing
  int threads = 0;  // that may share a batch of a model which says nothing; 0: all there are
  int64_t default_max_rows = 64;  // batch limit where the configuration names none
  int64_t max_model_bytes = (int64_t{2} << 30) - 1;  // of a file; what protobuf can hold
  int load_threads = 1;                              // models that are loaded at once at the start
  MemoryLimits memory;
  bool strict_readiness = true;  // false: AllStartedReady even when models failed at the start
};

class ModelRepository {
 public:
  virtual ~ModelRepository() = default;

  // When `version` is 0 the newest ready version, or the one that answers while a newer is held
  // back. NotFound if the name or version is unknown,
  // Unavailable while it is loading or unloading; never waits. Thread-safe, wait-free for readers
  // in practice (one atomic shared pointer).
  virtual absl::StatusOr<ModelHandle> Find(absl::string_view name, int64_t version) const = 0;
  // All ready versions of a model, ascending; NotFound as above.
  virtual absl::StatusOr<std::vector<ModelHandle>> Versions(absl::string_view name) const = 0;
  virtual std::vector<ModelHandle> AllReady() const = 0;
  // Without the parameter "shadow": the newest ready version and no shadow. NotFound as above.
  virtual absl::StatusOr<AnsweringVersions> Answering(absl::string_view name) const = 0;
  // From now on `version` answers requests that name none; checks no guard. It is remembered in
  // the model's folder, if that can be written to. OK when it did so already; FailedPrecondition
  // without the parameter "shadow", NotFound for a version that is not ready.
  virtual absl::Status Promote(absl::string_view name, int64_t version) = 0;
  virtual std::vector<IndexEntry> Index() const = 0;

  // What a version is like, evicted or not. NotFound and Unavailable as Find. Thread-safe.
  virtual absl::StatusOr<ModelDescriptionHandle> Describe(absl::string_view name,
                                                          int64_t version) const {
    absl::StatusOr<ModelHandle> model = Find(name, version);
    if (!model.ok()) return model.status();
    return DescribeModel(**model);
  }
  // All versions that are served, evicted or not, ascending; of all models when `name` is empty.
  virtual absl::StatusOr<std::vector<ModelDescriptionHandle>> DescribeAll(
      absl::string_view name) const;

  // Called when an evicted model is back, or why it is not.
  using Woken = std::function<void(const absl::Status& status)>;
  // When Find has answered Unavailable: brings the model back if it is evicted. True: `then` is
  // called once, from another thread, at the earliest before this returns; the model stays in
  // memory while it runs. False: the model is not evicted, and `then` is not called. Never waits.
  // Thread-safe.
  virtual bool Wake(
      absl::string_view name,
      Woken then) {  // NOLINT(performance-unnecessary-value-param): overriders keep it
    static_cast<void>(name);
    static_cast<void>(then);
    return false;
  }
  virtual MemoryReport Memory() const { return {}; }

  // Loads or reloads from disk; returns when the versions of its policy are ready (or why not).
  // The old version serves until then. InvalidArgument for a name that is not one path component
  // or a broken file, NotFound when the repository has no such model. Thread-safe; loads of one
  // model are one after another.
  virtual absl::Status Load(absl::string_view name) = 0;
  // Takes the model out; returns once its queued work is finished. OK when it was not loaded.
  virtual absl::Status Unload(absl::string_view name) = 0;
  // True when every model asked for at start has been tried.
  virtual bool Started() const = 0;
  // True when started and none of those failed (unless strict_readiness is off).
  virtual bool AllStartedReady() const = 0;
  // `on_change` is called, from any thread, after the set of ready models changed.
  virtual void SetChangeListener(std::function<void()> on_change) = 0;
};

}  // namespace bitmill
