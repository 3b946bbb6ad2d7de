#include "server/analysis/tuning_policy.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_format.h"

namespace bitmill {
namespace {

constexpr double kNanosPerMilli = 1e6;
constexpr double kNanosPerSecond = 1e9;
constexpr int64_t kMinRequests = 40;  // fewer say nothing
constexpr int64_t kMinSamples = 10;   // of the line
constexpr size_t kMaxRecent = 2'000;  // the newest
constexpr size_t kMaxStress = 2'000;
constexpr double kStressLoad = 1.5;        // of the capacity
constexpr double kStressTargets = 40;      // its length, in objectives
constexpr double kStressWeight = 0.3;      // against the goodput of now
constexpr double kLatencyWeight = 0.1;     // of the mean, against the objective
constexpr double kMaxGoodputLoss = 0.005;  // of now, for the sake of anything else
constexpr double kClearlyBetter = 0.03;    // of value, for a change that is less robust
constexpr double kMaxDelayShare = 0.25;    // of the objective, unless more was configured
constexpr uint64_t kSeed = 20260101;

// Uniform in [0, 1): the same with every standard library.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1.0p-53; }

// The time of an execution that runs beside others in all other instances.
ServiceTime MeanService(const TuningCase& question, int instances) {
  const double beside = std::max(instances - 1, 0);
  const double factor =
      (1 + question.contention * beside) / (1 + question.contention * question.executions_beside);
  return ServiceTimeOf({.a_ms = question.line.a_ms * factor, .b_ms = question.line.b_ms * factor});
}

// The same with the scatter that was seen: the same start has the same luck.
ServiceTime ScatteredService(const TuningCase& question, const ServiceTime& mean) {
  const double scatter = std::clamp(question.line.relative_error, 0.0, 0.5) * std::sqrt(3.0);
  return [mean, scatter](int64_t rows, MonotonicNanos start_ns, int instance) {
    uint64_t hash = static_cast<uint64_t>(start_ns) + static_cast<uint64_t>(instance);
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9U;  // the mixer of splitmix64
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebU;
    const double luck = static_cast<double>((hash ^ (hash >> 31)) >> 11) * 0x1.0p-52 - 1;
    return static_cast<int64_t>(static_cast<double>(mean(rows, start_ns, instance)) *
                                (1 + scatter * luck));
  };
}

ReplayResult ReplayCase(const TuningCase& question, const std::vector<ReplayRequest>& arrivals,
                        const ModelControls& controls) {
  const ServiceTime mean = MeanService(question, controls.instances);
  return Replay(arrivals, controls, ScatteredService(question, mean), mean);
}

int64_t Median(std::vector<int64_t>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Decoding, encoding, waking: what of a request's time is neither queue nor execution.
int64_t TimeAround(const ModelWindow& window) {
  std::vector<int64_t> around;
  for (const RequestRecord& record : window.requests) {
    if (record.code != 0 || record.batch_rows == 0) continue;
    around.push_back(record.total_ns - record.stages[Stage::kQueue] -
                     record.stages[Stage::kCompute]);
  }
  return std::max<int64_t>(Median(around), 0);
}

// The newest arrivals; where they are a sample, each stands for several, spread until the next.
std::vector<ReplayRequest> RecentArrivals(const ModelWindow& window, int64_t max_rows) {
  const auto copies =
      static_cast<size_t>(std::max(1.0, std::round(std::max(window.request_weight, 1.0))));
  const size_t kept = std::min(window.requests.size(), std::max<size_t>(kMaxRecent / copies, 1));
  std::vector<ReplayRequest> recent;
  recent.reserve(kept * copies);
  for (size_t i = window.requests.size() - kept; i < window.requests.size(); ++i) {
    const RequestRecord& record = window.requests[i];
    const MonotonicNanos next =
        i + 1 < window.requests.size() ? window.requests[i + 1].received_ns : window.end_ns;
    const int64_t gap = std::max<int64_t>(next - record.received_ns, 0);
    for (size_t copy = 0; copy < copies; ++copy) {
      recent.push_back(
          {.arrive_ns =
               record.received_ns + gap * static_cast<int64_t>(copy) / static_cast<int64_t>(copies),
           .rows = static_cast<int32_t>(std::clamp<int64_t>(record.rows, 1, max_rows))});
    }
  }
  return recent;
}

// Random arrivals (Poisson) of the rows that were seen, `rows_per_s` of them, for `seconds` at
// most.
std::vector<ReplayRequest> StressArrivals(const std::vector<ReplayRequest>& like, double rows_per_s,
                                          double seconds) {
  std::mt19937_64 random(kSeed);
  double rows = 0;
  for (const ReplayRequest& request : like) rows += request.rows;
  const double mean_gap_ns = kNanosPerSecond * rows / static_cast<double>(like.size()) / rows_per_s;
  std::vector<ReplayRequest> stress;
  double at_ns = 0;
  while (stress.size() < kMaxStress && at_ns < seconds * kNanosPerSecond) {
    stress.push_back({.arrive_ns = static_cast<MonotonicNanos>(at_ns),
                      .rows = like[random() % like.size()].rows});
    at_ns -= mean_gap_ns * std::log(1 - Uniform(random));
  }
  return stress;
}

double CapacityRowsPerSecond(const ServiceLine& line, int64_t rows, double instances) {
  const double ms = line.a_ms + line.b_ms * static_cast<double>(rows);
  return ms > 0 ? instances * static_cast<double>(rows) * 1e3 / ms : 0;
}

int64_t Percentile99(std::vector<int64_t>& values) {
  const auto place = values.begin() + static_cast<ptrdiff_t>(values.size() * 99 / 100);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

// How much later than the replay says the slowest answers are, with an admission limit in force: a
// limit that lets too much in shows here. Of the same requests, less the first ones: the replay
// begins with an empty queue.
int64_t LatenessUnseen(const ModelWindow& window, const TuningCase& question, int64_t around_ns) {
  if (window.controls.admit_within_ns <= 0) return 0;
  const MonotonicNanos from_ns = question.recent.front().arrive_ns + question.target_ns;
  std::vector<int64_t> seen, replayed;
  for (const RequestRecord& record : window.requests) {
    if (record.code == 0 && record.received_ns >= from_ns) seen.push_back(record.total_ns);
  }
  const ReplayResult replay = ReplayCase(question, question.recent, window.controls);
  for (size_t i = 0; i < question.recent.size(); ++i) {
    if (replay.requests[i].fate == ReplayFate::kAnswered &&
        question.recent[i].arrive_ns >= from_ns) {
      replayed.push_back(replay.requests[i].latency_ns);
    }
  }
  if (static_cast<int64_t>(std::min(seen.size(), replayed.size())) < kMinRequests) return 0;
  return std::clamp<int64_t>(Percentile99(seen) - around_ns - Percentile99(replayed), 0,
                             question.target_ns / 4);
}

// Values of `control` that are worth a replay; some may be equal or out of bounds.
std::vector<double> Candidates(const TuningCase& question, const ModelControls& current,
                               Control control) {
  const TuningBounds& bounds = question.bounds;
  const auto target = static_cast<double>(question.target_ns);
  const auto largest = static_cast<double>(
      LargestBatchInTime(question.line, question.target_ns, current.instances, bounds.max_rows));
  switch (control) {
    case Control::kMaxRows: {
      const auto rows = static_cast<double>(current.max_rows);
      return {largest,  largest * 0.75, largest * 0.5,
              rows * 2, rows / 2,       static_cast<double>(bounds.max_rows)};
    }
    case Control::kMaxDelay:
      return {0, target / 16, target / 8, target / 4,
              static_cast<double>(current.max_delay_ns) / 2};
    case Control::kInstances:
      return {static_cast<double>(current.instances + 1),
              static_cast<double>(current.instances - 1)};
    case Control::kMaxQueueRequests: {
      double rows = 0;
      for (const ReplayRequest& request : question.recent) rows += request.rows;
      const double fit = question.capacity_rows_per_s * target / kNanosPerSecond *
                         static_cast<double>(question.recent.size()) / std::max(rows, 1.0);
      return {fit, fit / 2, static_cast<double>(bounds.max_queue_requests)};
    }
    case Control::kAdmitWithin:
      return {target, target * 0.95, target * 0.9, target * 0.8, target * 0.65};
  }
  return {};
}

double InBounds(const TuningBounds& bounds, Control control, double value) {
  switch (control) {
    case Control::kMaxRows:
      return std::clamp(std::floor(value), 1.0, static_cast<double>(bounds.max_rows));
    case Control::kMaxDelay:  // whole microseconds
      return std::clamp(std::floor(value / 1e3) * 1e3, 0.0,
                        static_cast<double>(bounds.max_delay_ns));
    case Control::kInstances:
      return std::clamp(value, 1.0, static_cast<double>(bounds.instances));
    case Control::kMaxQueueRequests:
      return std::clamp(std::floor(value), 1.0, static_cast<double>(bounds.max_queue_requests));
    case Control::kAdmitWithin:
      return std::clamp(std::floor(value / 1e3) * 1e3, 0.0,
                        static_cast<double>(bounds.admit_within_ns));
  }
  return value;
}

std::string Display(Control control, double value) {
  if (control == Control::kMaxDelay || control == Control::kAdmitWithin) {
    return absl::StrFormat("%.2f ms", value / kNanosPerMilli);
  }
  return absl::StrFormat("%.0f", value);
}

std::string Reason(const TuningCase& question, const Proposal& proposal) {
  return absl::StrFormat(
      "%s from %s to %s: %.0f of %.0f rows/s in time, predicted %.0f; at %.1f times the capacity "
      "%.0f -> %.0f; mean %.2f -> %.2f ms (S(n) = %.3g + %.3g n ms, objective leaves %.2f ms)",
      kControlNames[static_cast<size_t>(proposal.control)],
      Display(proposal.control, proposal.from), Display(proposal.control, proposal.to),
      proposal.before.good_rows_per_s, question.offered_rows_per_s, proposal.after.good_rows_per_s,
      kStressLoad, proposal.before.stress_rows_per_s, proposal.after.stress_rows_per_s,
      proposal.before.latency_ms, proposal.after.latency_ms, question.line.a_ms, question.line.b_ms,
      static_cast<double>(question.target_ns) / kNanosPerMilli);
}

// The best value of one control whose score is at least `at_least`.
std::optional<Proposal> BestOf(const TuningCase& question, const ModelControls& current,
                               Control control, const TuningScore& before, double at_least) {
  const double from = ValueOf(current, control);
  const double least_good = before.good_rows_per_s * (1 - kMaxGoodputLoss);
  std::vector<double> tried = {from};
  std::optional<Proposal> best;
  for (const double candidate : Candidates(question, current, control)) {
    const double to = InBounds(question.bounds, control, candidate);
    if (std::find(tried.begin(), tried.end(), to) != tried.end()) continue;
    tried.push_back(to);
    const ModelControls controls = With(current, control, to);
    const TuningScore after = Score(question, controls);
    if (after.good_rows_per_s < least_good || after.value < at_least) continue;
    if (best && after.value <= best->after.value) continue;
    best = Proposal{.control = control,
                    .controls = controls,
                    .from = from,
                    .to = to,
                    .before = before,
                    .after = after,
                    .reason = {}};
  }
  return best;
}

}  // namespace

double ValueOf(const ModelControls& controls, Control control) {
  switch (control) {
    case Control::kMaxRows:
      return static_cast<double>(controls.max_rows);
    case Control::kMaxDelay:
      return static_cast<double>(controls.max_delay_ns);
    case Control::kInstances:
      return controls.instances;
    case Control::kMaxQueueRequests:
      return static_cast<double>(controls.max_queue_requests);
    case Control::kAdmitWithin:
      return static_cast<double>(controls.admit_within_ns);
  }
  return 0;
}

ModelControls With(ModelControls controls, Control control, double value) {
  switch (control) {
    case Control::kMaxRows:
      controls.max_rows = static_cast<int64_t>(value);
      break;
    case Control::kMaxDelay:
      controls.max_delay_ns = static_cast<MonotonicNanos>(value);
      break;
    case Control::kInstances:
      controls.instances = static_cast<int>(value);
      break;
    case Control::kMaxQueueRequests:
      controls.max_queue_requests = static_cast<int64_t>(value);
      break;
    case Control::kAdmitWithin:
      controls.admit_within_ns = static_cast<MonotonicNanos>(value);
      break;
  }
  return controls;
}

int64_t LargestBatchInTime(const ServiceLine& line, int64_t target_ns, int instances,
                           int64_t bound) {
  // S(n) (1 + 1 / instances) <= target
  const double k = std::max(instances, 1);
  const double run_ms = static_cast<double>(target_ns) / kNanosPerMilli * k / (k + 1);
  if (line.a_ms >= run_ms) return 1;
  if (line.b_ms <= 0) return std::max<int64_t>(bound, 1);
  const double rows = std::floor((run_ms - line.a_ms) / line.b_ms);
  return static_cast<int64_t>(
      std::clamp(rows, 1.0, static_cast<double>(std::max<int64_t>(bound, 1))));
}

double FitContention(const ModelWindow& window, const ServiceLine& line, double* mean_beside) {
  *mean_beside = 0;
  const std::vector<ExecutionRecord>& runs = window.executions_seen;
  if (runs.size() < 2 || window.execution_weight > 1.01) return 0;
  double sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const MonotonicNanos begin = runs[i].start_ns, end = begin + runs[i].compute_ns;
    double overlap_ns = 0;
    // By start: what began long before has mostly ended; 64 back are enough for any real number.
    for (size_t j = i > 64 ? i - 64 : 0; j < runs.size() && runs[j].start_ns < end; ++j) {
      if (j == i) continue;
      const MonotonicNanos other_end = runs[j].start_ns + runs[j].compute_ns;
      overlap_ns += static_cast<double>(
          std::max<int64_t>(std::min(end, other_end) - std::max(begin, runs[j].start_ns), 0));
    }
    const double x = overlap_ns / static_cast<double>(std::max<int64_t>(runs[i].compute_ns, 1));
    const double expected_ms = line.a_ms + line.b_ms * static_cast<double>(runs[i].rows);
    const double y = expected_ms > 0
                         ? static_cast<double>(runs[i].compute_ns) / kNanosPerMilli / expected_ms
                         : 1;
    sum_x += x;
    sum_y += y;
    sum_xx += x * x;
    sum_xy += x * y;
  }
  const auto count = static_cast<double>(runs.size());
  *mean_beside = sum_x / count;
  const double variance = sum_xx / count - *mean_beside * *mean_beside;
  if (variance < 0.01) return 0;
  const double slope = (sum_xy / count - *mean_beside * sum_y / count) / variance;
  const double alone = sum_y / count - slope * *mean_beside;
  return alone > 0.1 ? std::clamp(slope / alone, 0.0, 4.0) : 0;
}

double GoodRowsPerSecond(const ModelWindow& window) {
  if (window.seconds() <= 0) return 0;
  const double objective_ns = window.objective.p99_ms * kNanosPerMilli;
  double rows = 0;
  for (const RequestRecord& record : window.requests) {
    if (record.code == 0 &&
        (objective_ns <= 0 || static_cast<double>(record.total_ns) <= objective_ns)) {
      rows += record.rows;
    }
  }
  return rows * window.request_weight / window.seconds();
}

double OfferedRowsPerSecond(const ModelWindow& window) {
  if (window.seconds() <= 0) return 0;
  double rows = 0;
  for (const RequestRecord& record : window.requests) rows += std::max(record.rows, 1);
  return rows * window.request_weight / window.seconds();
}

std::optional<TuningCase> MakeTuningCase(const ModelWindow& window, const ServiceLine& line,
                                         double cpu_budget_cores) {
  if (window.objective.p99_ms <= 0 || line.samples < kMinSamples || line.a_ms + line.b_ms <= 0 ||
      static_cast<int64_t>(window.requests.size()) < kMinRequests) {
    return std::nullopt;
  }
  TuningCase question;
  question.line = line;
  const auto objective_ns = static_cast<int64_t>(window.objective.p99_ms * kNanosPerMilli);
  const int64_t around_ns = TimeAround(window);
  question.target_ns = std::max(objective_ns - around_ns, objective_ns / 4);
  const int cpus = std::max(1, static_cast<int>(std::ceil(cpu_budget_cores - 1e-6)));
  question.bounds = {
      .max_rows = std::max<int64_t>(window.configured.max_rows, 1),
      .max_delay_ns = std::max(
          window.configured.max_delay_ns,
          static_cast<MonotonicNanos>(kMaxDelayShare * static_cast<double>(question.target_ns))),
      .instances =
          std::clamp(window.configured.instances, 1, std::max(cpus, window.controls.instances)),
      .max_queue_requests = std::max<int64_t>(window.configured.max_queue_requests, 1),
      .admit_within_ns = objective_ns};
  question.contention = FitContention(window, line, &question.executions_beside);
  question.recent = RecentArrivals(window, question.bounds.max_rows);
  question.target_ns =
      std::max(question.target_ns - LatenessUnseen(window, question, around_ns), objective_ns / 4);
  question.offered_rows_per_s = OfferedRowsPerSecond(window);
  question.recent_seconds =
      static_cast<double>(window.end_ns - question.recent.front().arrive_ns) / kNanosPerSecond;
  const int instances = question.bounds.instances;
  question.capacity_rows_per_s = CapacityRowsPerSecond(
      line, LargestBatchInTime(line, question.target_ns, instances, question.bounds.max_rows),
      instances);
  question.stress =
      StressArrivals(question.recent, kStressLoad * question.capacity_rows_per_s,
                     kStressTargets * static_cast<double>(question.target_ns) / kNanosPerSecond);
  question.stress_seconds =
      static_cast<double>(std::max<int64_t>(question.stress.back().arrive_ns, 1)) / kNanosPerSecond;
  return question;
}

TuningScore Score(const TuningCase& question, const ModelControls& controls) {
  const ReplayResult recent = ReplayCase(question, question.recent, controls);
  const ReplayResult stress = ReplayCase(question, question.stress, controls);
  TuningScore score;
  const auto target = question.target_ns;
  score.good_rows_per_s = static_cast<double>(recent.GoodRows(question.recent, target)) /
                          std::max(question.recent_seconds, 1e-9);
  score.stress_rows_per_s =
      static_cast<double>(stress.GoodRows(question.stress, target)) / question.stress_seconds;
  score.latency_ms = recent.MeanLatencyNanos() / kNanosPerMilli;
  const double possible =
      std::max(std::min(question.offered_rows_per_s, question.capacity_rows_per_s), 1e-9);
  const double lateness =
      std::min(recent.MeanLatencyNanos() / static_cast<double>(std::max<int64_t>(target, 1)), 1.0);
  score.value =
      score.good_rows_per_s / possible +
      kStressWeight * score.stress_rows_per_s / std::max(question.capacity_rows_per_s, 1e-9) +
      kLatencyWeight * (1 - lateness);
  return score;
}

std::optional<Proposal> Propose(const TuningCase& question, const ModelControls& current,
                                const ControlSet& barred, double min_gain) {
  // Of nearly equal changes the first: a limit in milliseconds holds when the load or the speed
  // changes, one in rows or requests has to be found again.
  constexpr std::array<Control, kControls> kOrder = {Control::kAdmitWithin, Control::kMaxDelay,
                                                     Control::kMaxRows, Control::kInstances,
                                                     Control::kMaxQueueRequests};
  const TuningScore before = Score(question, current);
  std::optional<Proposal> best;
  for (const Control control : kOrder) {
    if (barred[static_cast<size_t>(control)]) continue;
    const double at_least = best ? best->after.value + kClearlyBetter : before.value + min_gain;
    std::optional<Proposal> found = BestOf(question, current, control, before, at_least);
    if (found) best = std::move(found);
  }
  if (best) best->reason = Reason(question, *best);
  return best;
}

}  // namespace bitmill
