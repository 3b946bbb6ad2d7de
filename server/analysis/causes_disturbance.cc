// What makes executions take longer than they would: the quota, others on the CPUs, locks, paging,
// cold memory, a slow instance, a device's queue. Scores are replays without it.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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

void TakeCpuWaitAround(const WindowParts& parts, double share, Removal& removal) {
  for (size_t i = 0; i < parts.requests.size(); ++i) {
    const RequestParts& request = parts.requests[i];
    removal.TakeAround(
        i, share * (request.held + std::max(request.transit - parts.quick_transit, 0.0) +
                    std::max(request.write - kUsualWriteSpread * parts.usual_write, 0.0)));
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
  TakeCpuWaitAround(parts, QuotaShare(parts), removal);
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

struct InstancePace {
  double slowness = 0;   // wall over clean; 0: too few executions
  double kept = 1;       // of its time, to be as fast as the fastest instance
  double neighbour = 0;  // waits for others over clean
  double common = 1;     // share of those waits that the fastest instance has too
};

std::vector<InstancePace> Paces(const WindowParts& parts) {
  const auto& seen = parts.window.executions_seen;
  const auto count = static_cast<size_t>(std::max(parts.window.controls.instances, 1));
  std::vector<std::vector<double>> ratios(count);
  std::vector<double> neighbour(count);
  for (size_t i = 0; i < seen.size(); ++i) {
    const auto instance = static_cast<size_t>(std::max(seen[i].instance, 0));
    if (instance >= count || parts.executions[i].clean <= 0) continue;
    ratios[instance].push_back(parts.executions[i].wall / parts.executions[i].clean);
    neighbour[instance] += parts.executions[i].neighbour / parts.executions[i].clean;
  }
  std::vector<InstancePace> paces(count);
  for (size_t i = 0; i < count; ++i) {
    const auto executions = static_cast<int64_t>(ratios[i].size());
    if (executions < parts.thresholds.imbalance_executions) continue;
    double mean = 0;
    for (const double ratio : ratios[i]) mean += ratio / static_cast<double>(executions);
    const double median = TakeQuantile(ratios[i], 0.5);
    paces[i].neighbour = neighbour[i] / static_cast<double>(executions);
    paces[i].slowness = executions >= kManyExecutions ? std::max(mean, median) : median;
  }
  return paces;
}

// Sets `kept` and `common` where the slowest instance takes more than `least` times what the
// fastest takes. Returns that ratio; 1 with fewer than two instances to compare.
double Compare(double least, std::vector<InstancePace>& paces) {
  const InstancePace* fastest = nullptr;
  const InstancePace* slowest = nullptr;
  for (const InstancePace& pace : paces) {
    if (pace.slowness <= 0) continue;
    if (fastest == nullptr || pace.slowness < fastest->slowness) fastest = &pace;
    if (slowest == nullptr || pace.slowness > slowest->slowness) slowest = &pace;
  }
  if (fastest == slowest) return 1;
  const double ratio = slowest->slowness / fastest->slowness;
  if (ratio < least) return ratio;
  const InstancePace best = *fastest;
  for (InstancePace& pace : paces) {
    if (pace.slowness <= 0) continue;
    pace.kept = best.slowness / pace.slowness;
    if (pace.neighbour > best.neighbour) pace.common = best.neighbour / pace.neighbour;
  }
  return ratio;
}

void FindImbalance(const WindowParts& parts, const WhatIf& what_if,
                   std::vector<InstancePace>& paces, std::vector<Candidate>& candidates) {
  const double ratio = Compare(parts.thresholds.imbalance_ratio, paces);
  if (ratio < parts.thresholds.imbalance_ratio) return;
  Scenario scenario = what_if.AsIs();
  scenario.by_instance = true;
  const double before = what_if.P99(scenario);
  for (size_t i = 0; i < scenario.scale.size(); ++i) {
    const auto instance = static_cast<size_t>(parts.window.executions_seen[i].instance);
    const double kept = instance < paces.size() ? paces[instance].kept : 1;
    scenario.scale[i] *= kept;
    scenario.wait_ns[i] *= kept;
  }
  if (parts.saturation < parts.thresholds.overload_saturation) scenario.backlog = 0;
  const double gained = what_if.RecoveredMs(before, what_if.P99(scenario));
  Add(Cause::kImbalance, gained,
      absl::StrFormat("the slowest of %d instances takes %.1f times as long as the fastest for the "
                      "same rows",
                      paces.size(), ratio),
      absl::StrCat("give each instance a CPU of its own: instance_group count at most the CPUs "
                   "that are free, --cpu-budget, or a cpuset without other work: ",
                   Becomes(parts, gained)),
      candidates);
}

void FindNeighbour(const WindowParts& parts, const WhatIf& what_if,
                   const std::vector<InstancePace>& paces, std::vector<Candidate>& candidates) {
  if (!parts.neighbour_gate) return;
  const double of_work = parts.sum.neighbour / std::max(parts.sum.wall, 1.0);
  const double around =
      (1 - QuotaShare(parts)) * parts.mean.held / std::max(parts.mean.latency, 1.0);
  if (of_work + around < parts.thresholds.neighbour_wait_share) return;
  Removal removal(parts, what_if);
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    const auto instance = static_cast<size_t>(parts.window.executions_seen[i].instance);
    const double common = instance < paces.size() ? paces[instance].common : 1;
    removal.TakeWait(i, parts.executions[i].neighbour * common);
  }
  TakeCpuWaitAround(parts, 1 - QuotaShare(parts), removal);
  const double gained = removal.GainedMs();
  const OthersBusy others = OthersOf(parts.host);
  Add(Cause::kNoisyNeighbour, gained,
      absl::StrFormat("executions were ready but not running %s of their time while others used "
                      "%.1f of our %.0f CPUs%s",
                      PercentText(of_work), std::max(others.cores, 0.0), others.of_cores,
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

double AgeSeconds(const WindowParts& parts, size_t execution) {
  return static_cast<double>(parts.window.executions_seen[execution].start_ns -
                             parts.window.facts.loaded_ns) *
         1e-9;
}

// Pages read from a disk are the load's own for a while after it, unless memory is short.
bool PagingOfLoad(const WindowParts& parts, size_t execution) {
  const bool is_short = parts.host.memory_limit_hits_per_s >= parts.thresholds.memory_hits_per_s ||
                        parts.host.psi_memory_some >= parts.thresholds.memory_psi_share;
  const double age = AgeSeconds(parts, execution);
  return !is_short && age >= 0 && age < parts.thresholds.cold_seconds;
}

void FindColdStart(const WindowParts& parts, const WhatIf& what_if,
                   std::vector<Candidate>& candidates) {
  Removal removal(parts, what_if);
  int64_t cold = 0, faults = 0;
  double last_age = 0, took = 0, usual = 0;
  for (size_t i = 0; i < parts.executions.size(); ++i) {
    const double age = AgeSeconds(parts, i);
    if (age < 0 || age >= parts.thresholds.cold_seconds) continue;
    const ExecutionParts& of = parts.executions[i];
    const bool slow = of.scale() >= parts.thresholds.cold_slowdown;
    if (!slow && of.paging <= 0) continue;
    if (slow) removal.TakeSlowdown(i);
    if (PagingOfLoad(parts, i)) removal.TakeWait(i, of.paging);
    ++cold;
    faults +=
        parts.window.executions_seen[i].minor_faults + parts.window.executions_seen[i].major_faults;
    last_age = std::max(last_age, age);
    took += of.work + of.paging;
    usual += of.clean;
  }
  if (cold == 0 || removal.taken_ns() <= 0) return;
  const double gained = removal.GainedMs();
  Add(Cause::kColdStart, gained,
      absl::StrFormat("%d executions within %.1f s of the load took %.1f times as long as later "
                      "ones, with %d page faults",
                      cold, last_age, took / std::max(usual, 1.0), faults),
      absl::StrCat("add model_warmup with the usual batch_size and a larger count, and keep "
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
  if (removal.taken_ns() <= 0) return;
  const double gained = removal.GainedMs();
  const HostWindow& host = parts.host;
  Add(Cause::kMemoryPressure, gained,
      absl::StrFormat(
          "%d pages were read from a disk while executions waited, %.1f/s in the "
          "process; something waited for memory %s of the time; limit hit %.1f/s, %.0f "
          "of %.0f MiB used",
          faults, host.major_faults_per_s, PercentText(std::max(host.psi_memory_some, 0.0)),
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

void FindDisturbances(const WindowParts& parts, const WhatIf& what_if,
                      std::vector<Candidate>& candidates) {
  std::vector<InstancePace> paces = Paces(parts);
  FindImbalance(parts, what_if, paces, candidates);
  FindThrottled(parts, what_if, candidates);
  FindNeighbour(parts, what_if, paces, candidates);
  FindLock(parts, what_if, candidates);
  FindColdStart(parts, what_if, candidates);
  FindMemoryPressure(parts, what_if, candidates);
  FindDeviceQueue(parts, what_if, candidates);
}

}  // namespace bitmill
