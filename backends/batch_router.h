// Which backend computes a batch: the one where it is predicted to be finished first.
//
// A batch is finished after what its backend has still to do, of all models, and its own time
// there: that of the table which was measured at the load (route_table.h), times the backend's
// drift, how many times as long as the table says batches of this model have taken there of late.
// Drift is a moving geometric mean, so one batch that was held up moves it little, and a backend
// that has become ten times slower is found out within a few batches. While the batch that is to be
// finished next is overdue, all others are taken to be late by as much: so nothing more is sent to
// a backend that hangs.
//
// A backend that gets nothing would never be seen to recover. So now and then one batch is sent
// there as a probe: not before half a second, 32 batches and a hundred times what the detour is
// predicted to cost have passed, and only where the backend could win if it were as fast as it was
// at the load, or twice as fast. Probes cost no more than a hundredth of the time.
//
// Routing a batch and finishing it takes two clock readings and two short locks, and allocates
// nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "backends/route_table.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace bitmill {

enum class RouteReason : uint8_t {
  kFastest,  // the batch takes the least time there, by the table
  kDrift,    // the fastest one by the table has become slower, or this one faster
  kQueue,    // faster ones have other batches to finish first
  kProbe,    // to see whether the backend has become faster
  kLast,     // all others have failed
  kEnergy,   // it takes less energy there, and not much longer
};
constexpr size_t kRouteReasons = 6;
const char* RouteReasonName(
    RouteReason reason);  // "fastest", "drift", "queue", "probe", "last", "energy"

// A batch from BatchRouter::Route() to its end; the caller's memory, which stays where it is.
struct RoutedBatch {
  size_t backend = 0;
  RouteReason reason = RouteReason::kFastest;
  MonotonicNanos start_ns = 0;
  int64_t run_ns = 0;     // predicted, once it is its turn
  int64_t finish_ns = 0;  // predicted, from the start; without what overdue batches add
  float drift = 1;        // that these were predicted with
  RoutedBatch* before = nullptr;
  RoutedBatch* after = nullptr;
};

// What each backend has to do, of all models that are routed. Shared by their routers.
class BackendLoads {
 public:
  // `lanes`, of each backend: batches that it computes at a time without one waiting for another.
  explicit BackendLoads(const std::vector<int>& lanes);

  // Batches that are routed to the backend and not finished. Thread-safe.
  int running(size_t backend) const;

 private:
  friend class BatchRouter;

  struct Load {
    int lanes = 1;
    RoutedBatch* first = nullptr;  // in the order of being routed
    RoutedBatch* last = nullptr;
    int running = 0;
    int64_t work_ns = 0;         // predicted, of all in the list
    MonotonicNanos head_ns = 0;  // since when the first one has been computed
  };

  mutable Mutex mutex_;  // also guards what the routers know
  std::vector<Load> loads_ ABSL_GUARDED_BY(mutex_);
};

// What is to be said about the routing of a model.
struct RouteReport {
  struct Backend {
    RouteTable table;
    double drift = 1;
    bool failed = false;
    std::array<int64_t, kRouteReasons> batches{};  // that were sent there, by reason
    // As predicted now: of a batch of each of the table's sizes, with drift, and until it is its
    // turn.
    std::vector<int64_t> run_ns;
    int64_t wait_ns = 0;
  };
  // Where a batch would go now, probes left out.
  struct Choice {
    int64_t rows = 0;
    size_t backend = 0;
    RouteReason reason = RouteReason::kFastest;
  };
  std::vector<Backend> backends;
  std::vector<Choice> choices;  // of the tables' sizes, ascending
};

// Of all batches so far, whatever the reason.
int64_t BatchesOf(const RouteReport::Backend& backend);

// Of one model. Thread-safe.
class BatchRouter {
 public:
  static constexpr size_t kMostBackends = 4;
  static constexpr int64_t kProbeNanos = 500'000'000;
  static constexpr int64_t kProbeBatches = 32;
  static constexpr int64_t kProbeCost = 100;  // times what the detour costs

  // The CPU's table first. `places`: of each table, which of the loads its backend has; none: they
  // are in the same order. `clock` outlives the router.
  BatchRouter(std::vector<RouteTable> tables, std::shared_ptr<BackendLoads> loads,
              const Clock& clock, std::vector<size_t> places = {});

  // Says where the batch goes, and counts it as work there until one of the following three, of
  // which exactly one is called.
  void Route(int64_t rows, RoutedBatch& batch);
  // It was computed; how long that took counts.
  void Finish(RoutedBatch& batch);
  // It was not, for a reason that says nothing about the backend.
  void Drop(RoutedBatch& batch);
  // The backend, not the first one, has failed and gets nothing any more. Whether that is news.
  bool Fail(RoutedBatch& batch);

  // From now on batches go where they take the least energy, watts times the time of their run,
  // among the backends where they are predicted to be finished within `kEnergyPatience` times the
  // earliest finish. `watts`: what each backend draws while it computes a batch; not one that is
  // above 0 for each: where they are finished first, as without it.
  static constexpr int64_t kEnergyPatience = 4;
  void PreferEnergy(const std::array<float, kMostBackends>& watts);

  RouteReport Report() const;

 private:
  struct State {
    RouteTable table;
    size_t place = 0;  // of its load
    float drift = 1;
    bool failed = false;
    MonotonicNanos seen_ns = 0;  // when a batch was last finished there, or sent there as a probe
    int64_t elsewhere = 0;       // batches since one was sent there
    std::array<int64_t, kRouteReasons> batches{};
  };
  struct Forecast {
    int64_t table_ns = 0;   // by the table
    int64_t run_ns = 0;     // with drift
    int64_t wait_ns = 0;    // until it is its turn
    int64_t finish_ns = 0;  // all in all
  };
  using Forecasts = std::array<Forecast, kMostBackends>;

  BackendLoads::Load& LoadOf(size_t backend) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_) {
    return loads_.loads_[routes_[backend].place];
  }

  Forecast Look(size_t backend, int64_t rows, MonotonicNanos now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_);
  // The backend that has not failed and whose `value` is least; of equal ones the first.
  size_t Least(const Forecasts& forecasts, int64_t Forecast::*value) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_);
  // Of those in time, by the preference; `best` without one.
  size_t LeastEnergy(const Forecasts& forecasts, size_t best) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_);
  RouteReason ReasonFor(size_t chosen, const Forecasts& forecasts) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_);
  // But for probes.
  std::pair<size_t, RouteReason> Choose(const Forecasts& forecasts) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_);
  std::optional<size_t> DueProbe(size_t best, const Forecasts& forecasts, MonotonicNanos now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_);
  void Enter(RoutedBatch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_);
  void Leave(const RoutedBatch& batch, MonotonicNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(loads_.mutex_);

  const std::shared_ptr<BackendLoads> shared_;
  BackendLoads& loads_;
  const Clock& clock_;
  std::vector<State> routes_ ABSL_GUARDED_BY(loads_.mutex_);
  std::array<float, kMostBackends> watts_ ABSL_GUARDED_BY(loads_.mutex_) = {};
};

}  // namespace bitmill
