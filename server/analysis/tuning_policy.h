// Which settings would serve a model best: a pure function of what was seen of it.
//
// Candidates come from a closed form over the service line S(n) = a + b n: the largest batch whose
// run fits into the objective together with the wait for the run before it, an admission limit at
// what the objective leaves, no delay unless one pays. Each is judged by a replay of the recent
// arrivals, and by a replay of a made-up overload, so that the next step of the load finds the
// model ready. About 18 candidates of 4,000 requests: 5 to 10 ms a decision.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/analysis/queue_replay.h"

namespace bitmill {

inline constexpr size_t kControls = kControlNames.size();
using ControlSet = std::array<bool, kControls>;  // by Control

// In the units of ModelControls.
double ValueOf(const ModelControls& controls, Control control);
ModelControls With(ModelControls controls, Control control, double value);

// How far each control may go: what was configured, and no more instances than CPUs.
struct TuningBounds {
  int64_t max_rows = 1;
  MonotonicNanos max_delay_ns = 0;
  int instances = 1;
  int64_t max_queue_requests = 1;
  MonotonicNanos admit_within_ns = 0;  // the objective: nobody wants more
};

// A question to the replay.
struct TuningCase {
  std::vector<ReplayRequest> recent;  // arrivals of the window, at most some thousands
  double recent_seconds = 0;
  double offered_rows_per_s = 0;
  std::vector<ReplayRequest> stress;  // more than can be served
  double stress_seconds = 0;
  double capacity_rows_per_s = 0;  // with the largest batch in time
  ServiceLine line;
  double contention = 0;         // an execution takes 1 + c times as long for each one beside it
  double executions_beside = 0;  // when the line was measured
  int64_t target_ns = 0;         // what of the objective queue and execution may take
  TuningBounds bounds;
};

struct TuningScore {
  double good_rows_per_s = 0;    // in time, of the recent arrivals
  double stress_rows_per_s = 0;  // in time, of the overload
  double latency_ms = 0;         // mean of the recent ones
  double value = 0;  // what is compared: 1 for all that is possible, and a little for the others
};

struct Proposal {
  Control control = Control::kMaxRows;
  ModelControls controls;  // with the change
  double from = 0, to = 0;
  TuningScore before, after;
  std::string reason;
};

// Largest n in 1 .. `bound` with S(n) and the wait for an instance, S(n) / instances, within
// `target_ns`; 1 when none is.
int64_t LargestBatchInTime(const ServiceLine& line, int64_t target_ns, int instances,
                           int64_t bound);

// How much longer an execution takes for each one that runs beside it, from executions of the
// window that overlapped with different numbers of others: the slope of time over the line's
// prediction. 0 when the window cannot tell (a sample, or always as many). `mean_beside`: how many
// ran beside an execution on average.
double FitContention(const ModelWindow& window, const ServiceLine& line, double* mean_beside);

// Rows that were answered within the objective, a second of the window.
double GoodRowsPerSecond(const ModelWindow& window);
double OfferedRowsPerSecond(const ModelWindow& window);

// Nothing when too little was seen to judge, or no objective is stated.
std::optional<TuningCase> MakeTuningCase(const ModelWindow& window, const ServiceLine& line,
                                         double cpu_budget_cores);

TuningScore Score(const TuningCase& question, const ModelControls& controls);

// The single change that gains most; nothing when none gains at least `min_gain` of value. Controls
// in `barred` are left as they are.
std::optional<Proposal> Propose(const TuningCase& question, const ModelControls& current,
                                const ControlSet& barred, double min_gain);

}  // namespace bitmill
