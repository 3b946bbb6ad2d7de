// What makes executions take longer than they would: the quota, others on the CPUs, locks, paging,
// cold memory, a slow instance, a device's queue. Scores are replays without it.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/analysis/causes.h"

namespace bitmill {
namespace {

constexpr double kQuotaPeriodNanos = 1e8;  // of the kernel's default
constexpr double kUsualWriteSpread = 2;    // of a write over the median
constexpr int64_t kManyExecutions = 50;    // enough for means that a few slow ones do not move

std::string Becomes(const WindowParts& parts, double gained_ms) {
  return absl::StrCat("p99 ", TimeText(parts.p99), " -> about ",
                      TimeText(std::max(parts.p99 - gained_ms * 1e6, 0.0)));
}

// A disturbance: what it takes of each execution and of each request.
class Removal {
 public:
  Removal(const WindowParts& parts, const WhatIf& what_if)
      : parts_(parts), what_if_(what_if), scenario_(what_if.AsIs()) {}

  void TakeWait(size_t execution, double ns) {
    const double taken = std::min(ns, scenario_.wait_ns[execution]);
    scenario_.wait_ns[execution] -= taken;
    taken_ns_ += taken;
  }
  // Down to the usual work.
  void TakeSlowdown(size_t execution) {
    const ExecutionParts& of = parts_.executions[execution];
    scenario_.scale[execution] = std::min(scenario_.scale[execution], 1.0);
    taken_ns_ += std::max(of.work - of.clean, 0.0);
  }
  void TakeAround(size_t request, double ns) { scenario_.less_ns[request] += ns; }

  double taken_ns() const { return taken_ns_; }
  // Milliseconds of p99. What waited at the begin of the window did so for all disturbances in
  // proportion, unless more arrives than could be computed without any.
  double GainedMs() {
    double disturbed_ns = 0;
    for (const ExecutionParts& of : parts_.executions) {
      disturbed_ns += std::max(of.wall - of.clean, 0.0);
    }
    if (parts_.saturation < parts_.thresholds.overload_saturation && disturbed_ns > 0) {
      scenario_.backlog = 1 - std::min(taken_ns_ / disturbed_ns, 1.0);
    }
    return what_if_.RecoveredMs(scenario_);
  }

 private:
  const WindowParts& parts_;
  const WhatIf& what_if_;
  Scenario scenario_;
  double taken_ns_ = 0;
};

void Add(Cause cause, double gained_ms, std::string evidence, std::string advice,
         std::vector<Candidate>& candidates) {
  Candidate candidate;
  candidate.finding = FindingOf(cause, gained_ms);
  candidate.finding.evidence = std::move(evidence);
  candidate.finding.advice = std::move(advice);
  candidates.push_back(std::move(candidate));
}

// Of the requests' time around executions that was waiting for a CPU, the quota's share; the rest
// is the neighbours'.
double QuotaShare(const WindowParts& parts) {
  if (!parts.throttled_gate) return 0;
  const double both = parts.sum.throttled + parts.sum.neighbour;
  return both > 0 ? parts.sum.throttled / both : 1;
}

double LateAround(const WindowParts& parts, const RequestParts& request) {
  return request.held + std::max(request.transit - parts.quick_transit, 0.0) +
         std::max(request.write - kUsualWriteSpread * parts.usual_write, 0.0);
}

// The mean of all requests.
double LateAround(const WindowParts& parts) {
  double sum = 0;
  for (const RequestParts& request : parts.requests) sum += LateAround(parts, request);
  return sum / std::max<double>(static_cast<double>(parts.requests.size()), 1);
}

// Whatever the threads around executions waited for, that share of it.
void TakeWaitAround(const WindowParts& parts, double share, Removal& removal) {
  for (size_t i = 0; i < parts.requests.size(); ++i) {
    removal.TakeAround(i, share * LateAround(parts, parts.requests[i]));
  }
}

// A request that comes while the group is held back is received only after that, and where clients
// do not tell when they sent it no record shows that. Held intervals of length h begin each period
// with probability q; the wait exceeds w with probability q (h - w) / period.
double HiddenHoldMs(const WindowParts& parts) {
  if (parts.mean.transit > 0 || parts.host.throttled_share <= 0) return 0;
  const double periods = parts.host.throttled_periods_share;
  const double often = periods > 0 ? std::min(periods, 1.0) : 1;
  const double held_ns = std::min(parts.host.throttled_share / often, 1.0) * kQuotaPeriodNanos;
  return std::max(held_ns - 0.01 * kQuotaPeriodNanos / often, 0.0) * 1e-6;
}

void FindThrottled(const WindowParts& parts, const WhatIf& what_if,
                   std::vector<Candidate>& candidates) {
  if (!parts.throttled_gate) return;
  Removal removal(parts, what_if);
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    removal.TakeWait(i, parts.executions[i].throttled);
  }
  TakeWaitAround(parts, QuotaShare(parts), removal);
  const double gained = std::max(removal.GainedMs(), HiddenHoldMs(parts));
  Add(Cause::kCpuThrottled, gained,
      absl::StrFormat("the CPU quota held the process back %s of the time, in %s of its periods; "
                      "executions stood still %s of theirs",
                      PercentText(std::max(parts.host.throttled_share, 0.0)),
                      PercentText(std::max(parts.host.throttled_periods_share, 0.0)),
                      PercentText(parts.sum.throttled / std::max(parts.sum.wall, 1.0))),
      absl::StrFormat("raise the CPU limit of the control group above %.2g CPUs, or run with "
                      "--cpu-budget and instance_group count that fit it: %s",
                      parts.host.cpu_budget_cores, Becomes(parts, gained)),
      candidates);
}

// How fast those are that run executions side by side: threads, or instances on accelerators. An
// instance of a CPU is run by whichever thread is free.
struct Pace {
  double slowness = 0;   // wall over clean; 0: too few executions
  double kept = 1;       // of its time, to be as fast as the fastest
  double neighbour = 0;  // waits for others over clean
  double common = 1;     // share of those waits that the fastest has too
};

struct Paces {
  bool of_threads = false;
  std::vector<size_t> of_execution;  // index in `all`
  std::vector<Pace> all;
};

Paces GroupExecutions(const WindowParts& parts) {
  const auto& seen = parts.window.executions_seen;
  Paces paces;
  paces.of_threads = std::ranges::all_of(
      seen, [](const ExecutionRecord& of) { return of.worker >= 0 && of.device_queue_ns < 0; });
  std::map<int32_t, size_t> groups;
  for (const ExecutionRecord& of : seen) {
    const int32_t key = paces.of_threads ? of.worker : std::max(of.instance, 0);
    paces.of_execution.push_back(groups.try_emplace(key, groups.size()).first->second);
  }
  paces.all.resize(groups.size());
  return paces;
}

Paces FindPaces(const WindowParts& parts) {
  Paces paces = GroupExecutions(parts);
  std::vector<std::vector<double>> ratios(paces.all.size());
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    const ExecutionParts& of = parts.executions[i];
    if (of.clean <= 0) continue;
    ratios[paces.of_execution[i]].push_back(of.wall / of.clean);
    paces.all[paces.of_execution[i]].neighbour += of.neighbour / of.clean;
  }
  for (size_t i = 0; i < paces.all.size(); ++i) {
    const auto executions = static_cast<int64_t>(ratios[i].size());
    if (executions < parts.thresholds.imbalance_executions) continue;
    double mean = 0;
    for (const double ratio : ratios[i]) mean += ratio / static_cast<double>(executions);
    const double median = TakeQuantile(ratios[i], 0.5);
    paces.all[i].neighbour /= static_cast<double>(executions);
    paces.all[i].slowness = executions >= kManyExecutions ? std::max(mean, median) : median;
  }
  return paces;
}

// Sets `kept` and `common` where the slowest takes more than `least` times what the fastest takes.
// Returns that ratio; 1 with fewer than two to compare.
double Compare(double least, std::vector<Pace>& paces) {
  const Pace* fastest = nullptr;
  const Pace* slowest = nullptr;
  for (const Pace& pace : paces) {
    if (pace.slowness <= 0) continue;
    if (fastest == nullptr || pace.slowness < fastest->slowness) fastest = &pace;
    if (slowest == nullptr || pace.slowness > slowest->slowness) slowest = &pace;
  }
  if (fastest == slowest) return 1;
  const double ratio = slowest->slowness / fastest->slowness;
  if (ratio < least) return ratio;
  const Pace best = *fastest;
  for (Pace& pace : paces) {
    if (pace.slowness <= 0) continue;
    pace.kept = best.slowness / pace.slowness;
    if (pace.neighbour > best.neighbour) pace.common = best.neighbour / pace.neighbour;
  }
  return ratio;
}

// A thread that hardly runs keeps an instance, and the requests that it is to answer, from one that
// would: all waiting for a CPU is its.
void FindStarved(const WindowParts& parts, const WhatIf& what_if,
                 std::vector<Candidate>& candidates) {
  Removal removal(parts, what_if);
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    removal.TakeWait(i, parts.executions[i].neighbour + parts.executions[i].unexplained);
  }
  TakeWaitAround(parts, 1, removal);
  const double gained = removal.GainedMs();
  Add(Cause::kImbalance, gained,
      absl::StrFormat("threads of the server that hardly ever get a CPU waited for one %.2f s a "
                      "second, while others had one most of the time that they wanted it",
                      parts.host.starved_wait_cores),
      absl::StrCat("look for a thread that is bound to a CPU which other work uses, and give the "
                   "server's threads the same CPUs (a cpuset without other work, --cpu-budget): ",
                   Becomes(parts, gained)),
      candidates);
}

void FindImbalance(const WindowParts& parts, const WhatIf& what_if, Paces& paces,
                   std::vector<Candidate>& candidates) {
  if (parts.window.controls.instances < 2) return;
  if (parts.SomeThreadsStarve()) {
    FindStarved(parts, what_if, candidates);
    return;
  }
  const double ratio = Compare(parts.thresholds.imbalance_ratio, paces.all);
  if (ratio < parts.thresholds.imbalance_ratio) return;
  Scenario scenario = what_if.AsIs();
  scenario.by_instance = !paces.of_threads;
  const double before = what_if.P99(scenario);
  for (size_t i = 0; i < scenario.scale.size(); ++i) {
    const double kept = paces.all[paces.of_execution[i]].kept;
    scenario.scale[i] *= kept;
    scenario.wait_ns[i] *= kept;
  }
  if (parts.saturation < parts.thresholds.overload_saturation) scenario.backlog = 0;
  const double gained = what_if.RecoveredMs(before, what_if.P99(scenario));
  Add(Cause::kImbalance, gained,
      absl::StrFormat("the slowest of %d %s takes %.1f times as long as the fastest for the same "
                      "rows",
                      paces.all.size(), paces.of_threads ? "threads" : "instances", ratio),
      absl::StrCat("give each instance a CPU of its own: instance_group count at most the CPUs "
                   "that are free, --cpu-budget, or a cpuset without other work: ",
                   Becomes(parts, gained)),
      candidates);
}

void FindNeighbour(const WindowParts& parts, const WhatIf& what_if, const Paces& paces,
                   std::vector<Candidate>& candidates) {
  if (!parts.neighbour_gate || parts.SomeThreadsStarve()) return;
  const double of_work = parts.sum.neighbour / std::max(parts.sum.wall, 1.0);
  const double late = parts.WaitsForOthers() ? LateAround(parts) : parts.mean.held;
  const double around = (1 - QuotaShare(parts)) * late / std::max(parts.mean.latency, 1.0);
  if (of_work + around < parts.thresholds.neighbour_wait_share) return;
  Removal removal(parts, what_if);
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    removal.TakeWait(i, parts.executions[i].neighbour * paces.all[paces.of_execution[i]].common);
  }
  TakeWaitAround(parts, 1 - QuotaShare(parts), removal);
  const double gained = removal.GainedMs();
  const OthersBusy others = OthersOf(parts.host);
  Add(Cause::kNoisyNeighbour, gained,
      absl::StrFormat("executions were ready but not running %s of their time, and requests "
                      "around them %s, while others used %.1f of our %.0f CPUs%s",
                      PercentText(of_work), PercentText(around), std::max(others.cores, 0.0),
                      others.of_cores,
                      parts.host.steal_share > 0
                          ? absl::StrCat(", the hypervisor ", PercentText(parts.host.steal_share))
                          : ""),
      absl::StrCat(
          "move other work off these CPUs, give the server a cpuset of its own or a higher "
          "CPU weight: ",
          Becomes(parts, gained)),
      candidates);
}

void FindLock(const WindowParts& parts, const WhatIf& what_if, std::vector<Candidate>& candidates) {
  const double share = parts.sum.asleep / std::max(parts.sum.wall, 1.0);
  if (share < parts.thresholds.lock_share) return;
  Removal removal(parts, what_if);
  int64_t blocked = 0;
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    removal.TakeWait(i, parts.executions[i].asleep);
    blocked += parts.window.executions_seen[i].blocked;
  }
  const double gained = removal.GainedMs();
  Add(Cause::kLockContention, gained,
      absl::StrFormat(
          "executions slept %s of their time, %d times in %d executions, though neither "
          "a quota, other work nor a disk held them",
          PercentText(share), blocked, parts.executions.size()),
      absl::StrFormat(
          "lower instance_group count from %d so that fewer threads want the same lock, "
          "or use a backend without one: %s",
          parts.window.controls.instances, Becomes(parts, gained)),
      candidates);
}

// Seconds since the last load before it; nothing when there was none of late, or executions had
// become as fast as usual since.
std::optional<double> ColdAge(const WindowParts& parts, size_t execution) {
  const MonotonicNanos start_ns = parts.window.executions_seen[execution].start_ns;
  ModelLoad last{.end_ns = parts.window.facts.loaded_ns};
  for (const ModelLoad& load : parts.window.loads) {
    if (load.end_ns <= start_ns) last = load;
  }
  const double age = static_cast<double>(start_ns - last.end_ns) * 1e-9;
  if (age < 0 || age >= parts.thresholds.cold_seconds) return std::nullopt;
  if (last.warm_ns != 0 && start_ns >= last.warm_ns) return std::nullopt;
  return age;
}

// Takes what requests and executions waited for a CPU while a model was loaded, unless others used
// the CPUs. Returns how many requests those were.
int64_t TakeWaitsOfLoads(const WindowParts& parts, Removal& removal) {
  if (parts.neighbour_gate || parts.throttled_gate) return 0;
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    const ExecutionRecord& record = parts.window.executions_seen[i];
    if (!parts.WhileLoading(record.start_ns, record.start_ns + record.compute_ns)) continue;
    removal.TakeWait(i, parts.executions[i].unexplained);
  }
  int64_t late = 0;
  for (size_t i = 0; i < parts.requests.size(); ++i) {
    if (!parts.WhileLoading(parts.requests[i])) continue;
    removal.TakeAround(i, LateAround(parts, parts.requests[i]));
    ++late;
  }
  return late;
}

// Pages read from a disk are the load's own for a while after it, unless memory is short.
bool PagingOfLoad(const WindowParts& parts, size_t execution) {
  const bool is_short = parts.host.memory_limit_hits_per_s >= parts.thresholds.memory_hits_per_s ||
                        MemoryStallOf(parts.host).share >= parts.thresholds.memory_psi_share;
  return !is_short && ColdAge(parts, execution).has_value();
}

bool IsCold(const WindowParts& parts, size_t execution) {
  const ExecutionParts& of = parts.executions[execution];
  return of.scale() >= parts.thresholds.cold_slowdown || of.paging > 0;
}

// Seconds after a load until executions that begin at `from_ns` or later are mostly as fast as
// usual, at least so many in half a second; nothing where that is not seen. Slow ones that come now
// and then, as often late as early, are no cold start.
std::optional<double> WarmAge(const WindowParts& parts, MonotonicNanos from_ns, int64_t fewest) {
  constexpr double kBinSeconds = 0.5;
  std::vector<int64_t> all(
      static_cast<size_t>(std::ceil(parts.thresholds.cold_seconds / kBinSeconds)));
  std::vector<int64_t> cold(all.size());
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    const std::optional<double> age = ColdAge(parts, i);
    if (!age || parts.window.executions_seen[i].start_ns < from_ns) continue;
    const auto bin = static_cast<size_t>(*age / kBinSeconds);
    ++all[bin];
    if (IsCold(parts, i)) ++cold[bin];
  }
  for (size_t bin = 0; bin < all.size(); ++bin) {
    const auto least = parts.thresholds.cold_share * static_cast<double>(all[bin]);
    if (all[bin] >= fewest && static_cast<double>(cold[bin]) < least) {
      // What is cold in a bin that is mostly warm is at its begin, where the one before was cold.
      return (static_cast<double>(bin) + (cold[bin] > 0 && bin > 0 ? 1 : 0)) * kBinSeconds;
    }
  }
  return std::nullopt;
}

struct ColdExecutions {
  int64_t count = 0, faults = 0;
  double last_age = 0, took = 0, usual = 0;  // seconds, ns, ns
};

std::string ColdText(const ColdExecutions& cold, int64_t late) {
  std::vector<std::string> parts;
  if (cold.count > 0) {
    parts.push_back(absl::StrFormat(
        "%d executions within %.1f s of a load took %.1f times as long as later ones, with %d page "
        "faults",
        cold.count, cold.last_age, cold.took / std::max(cold.usual, 1.0), cold.faults));
  }
  if (late > 0) {
    parts.push_back(absl::StrFormat(
        "%d requests came while a model was loaded and waited for the CPUs that this takes", late));
  }
  return absl::StrJoin(parts, "; ");
}

void FindColdStart(const WindowParts& parts, const WhatIf& what_if,
                   std::vector<Candidate>& candidates) {
  Removal removal(parts, what_if);
  const double cold_seconds =
      WarmAge(parts, /*from_ns=*/0, /*fewest=*/1).value_or(parts.thresholds.cold_seconds);
  ColdExecutions cold;
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    const std::optional<double> age = ColdAge(parts, i);
    if (!age || *age >= cold_seconds || !IsCold(parts, i)) continue;
    const ExecutionParts& of = parts.executions[i];
    if (of.scale() >= parts.thresholds.cold_slowdown) removal.TakeSlowdown(i);
    if (PagingOfLoad(parts, i)) removal.TakeWait(i, of.paging);
    ++cold.count;
    cold.faults +=
        parts.window.executions_seen[i].minor_faults + parts.window.executions_seen[i].major_faults;
    cold.last_age = std::max(cold.last_age, *age);
    cold.took += of.work + of.paging;
    cold.usual += of.clean;
  }
  const int64_t late = TakeWaitsOfLoads(parts, removal);
  if (late == 0 && (cold.count == 0 || removal.taken_ns() <= 0)) return;
  const double gained = removal.GainedMs();
  Add(Cause::kColdStart, gained, ColdText(cold, late),
      absl::StrCat("load a model again only when its file has changed, add model_warmup with the "
                   "usual batch_size and a larger count, and keep "
                   "model.plan (--plan-cache): ",
                   Becomes(parts, gained)),
      candidates);
}

void FindMemoryPressure(const WindowParts& parts, const WhatIf& what_if,
                        std::vector<Candidate>& candidates) {
  if (!parts.memory_gate) return;
  Removal removal(parts, what_if);
  int64_t faults = 0;
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    const ExecutionRecord& record = parts.window.executions_seen[i];
    faults += record.major_faults;
    if (record.major_faults == 0 || PagingOfLoad(parts, i)) continue;
    removal.TakeWait(i, parts.executions[i].paging);
    removal.TakeSlowdown(i);
  }
  if (parts.PagedOut()) {
    TakeWaitAround(parts, 1, removal);
  } else if (removal.taken_ns() <= 0) {
    return;
  }
  const double gained = removal.GainedMs();
  const HostWindow& host = parts.host;
  const MemoryStall stall = MemoryStallOf(host);
  Add(Cause::kMemoryPressure, gained,
      absl::StrFormat(
          "%d pages were read from a disk while executions waited, %.1f/s in the "
          "process; something of %s waited for memory %s of the time; limit hit %.1f/s, %.0f "
          "of %.0f MiB used",
          faults, host.major_faults_per_s, stall.of, PercentText(std::max(stall.share, 0.0)),
          host.memory_limit_hits_per_s, static_cast<double>(host.memory_used_bytes) / 1048576.0,
          static_cast<double>(host.memory_limit_bytes) / 1048576.0),
      absl::StrCat(
          "raise the memory limit of the control group, or serve fewer models and versions "
          "(version_policy): ",
          Becomes(parts, gained)),
      candidates);
}

void FindDeviceQueue(const WindowParts& parts, const WhatIf& what_if,
                     std::vector<Candidate>& candidates) {
  const double share = parts.sum.device / std::max(parts.sum.wall, 1.0);
  if (share < parts.thresholds.device_queue_share) return;
  Removal removal(parts, what_if);
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    removal.TakeWait(i, parts.executions[i].device);
  }
  const double gained = removal.GainedMs();
  Add(Cause::kDeviceQueue, gained,
      absl::StrFormat("executions waited %s of their time in the device's queue",
                      PercentText(share)),
      absl::StrFormat("lower instance_group count from %d, so that batches gather here instead, or "
                      "keep other processes off the device: %s",
                      parts.window.controls.instances, Becomes(parts, gained)),
      candidates);
}

}  // namespace

MonotonicNanos WarmSince(const WindowParts& parts) {
  const MonotonicNanos loaded_ns = parts.window.facts.loaded_ns;
  const std::optional<double> age = WarmAge(parts, loaded_ns, parts.thresholds.min_executions);
  return age ? loaded_ns + std::llround(*age * 1e9) : 0;
}

void FindDisturbances(const WindowParts& parts, const WhatIf& what_if,
                      std::vector<Candidate>& candidates) {
  Paces paces = FindPaces(parts);
  FindImbalance(parts, what_if, paces, candidates);
  FindThrottled(parts, what_if, candidates);
  FindNeighbour(parts, what_if, paces, candidates);
  FindLock(parts, what_if, candidates);
  FindColdStart(parts, what_if, candidates);
  FindMemoryPressure(parts, what_if, candidates);
  FindDeviceQueue(parts, what_if, candidates);
}

}  // namespace bitmill
