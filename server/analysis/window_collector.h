// Keeps what finished in the last seconds and makes windows of it. One thread uses it, several
// times a second.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "base/clock.h"
#include "server/analysis/observation.h"
#include "server/metrics/in_system.h"
#include "server/metrics/metrics.h"
#include "server/metrics/request_log.h"

namespace bitmill {

struct CollectorOptions {
  MonotonicNanos window_ns = 5'000'000'000;
  // Of each kind and model, in a window; more are thinned out, evenly over time.
  size_t max_records = 10'000;
};

class WindowCollector {
 public:
  WindowCollector(const CollectorOptions& options, RequestLog& log, const Clock& clock);

  // Takes over what finished since the last call. A record of a version that is not added is
  // dropped. Of records that found no room in the log the others of this call give the kinds: all
  // counts and weights are as if they were here.
  void Collect();
  // So many records were taken that the log may be full before a next call as late as this one.
  bool hurry() const { return hurry_; }

  // From now on the version is observed; what was there under the id before is forgotten. Borrows
  // `metrics`.
  void Add(uint32_t id, const ModelMetrics& metrics);
  void Remove(uint32_t id);

  // Ends the tick: a window per version, with the records and counts of the last `window_ns` and
  // the counts of the time since the tick before. Facts, controls and objective are left to the
  // caller.
  std::map<uint32_t, ModelWindow> Tick();

 private:
  // Of finished requests; not whole where they stand for some that are not here.
  struct Counts {
    double answered = 0, refused = 0, expired = 0, failed = 0;
    double rows = 0, finished_rows = 0;  // of answered ones, of all
    double executions = 0;
    double finished() const { return answered + refused + expired + failed; }
    // Adds `of`, each as often as `requests` or `executions` say.
    void Add(const Counts& of, double requests, double executions);
  };
  // What happened between two ticks.
  struct Slice {
    MonotonicNanos begin_ns = 0, end_ns = 0;
    Counts counts = {};
    InSystem::Reading begin = {}, end = {};
    std::vector<RequestRecord> requests = {};
    std::vector<ExecutionRecord> executed = {};
    std::vector<TurnRecord> turns = {};
  };
  struct Model {
    const ModelMetrics* metrics = nullptr;
    Slice open;                // since the last tick
    Counts taken;              // in this Collect(); not yet in the slice
    std::deque<Slice> slices;  // oldest first
  };

  void Take(const RequestRecord& record);
  void Take(const ExecutionRecord& record);
  void Take(const TurnRecord& record);
  ModelWindow WindowOf(Model& model) const;

  const CollectorOptions options_;
  RequestLog& log_;
  const Clock& clock_;
  std::map<uint32_t, Model> models_;
  int64_t taken_ = 0, taken_executions_ = 0;      // in this Collect(), of all versions
  int64_t dropped_ = 0, dropped_executions_ = 0;  // before the last one
  bool hurry_ = false;
};

}  // namespace bitmill
