// Load and settings: more than can be computed, waiting for company, the machine's limits, padding.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/analysis/causes.h"

namespace bitmill {
namespace {

constexpr double kWorthChanging = 0.1;      // of p99, for a setting to be advised
constexpr double kRefusedSaturation = 0.7;  // from here on refusals are the load's
constexpr int64_t kSlowedSamples = 50;      // of the known line, to say that it is slower now

std::string Becomes(double before_ms, double gained_ms) {
  return absl::StrCat("p99 ", TimeText(before_ms * 1e6), " -> about ",
                      TimeText(std::max(before_ms - gained_ms, 0.0) * 1e6));
}

// The setting that gains most, replayed as if it had been so before.
std::string AdviseCapacity(const WindowParts& parts, const WhatIf& what_if) {
  const double p99_ms = parts.p99 * 1e-6;
  const ModelControls& now = parts.window.controls;
  double best = kWorthChanging * p99_ms;
  std::string advice;
  for (const int64_t factor : {2, 4}) {
    Scenario scenario = what_if.AsIs();
    scenario.backlog = 0;
    scenario.controls.max_rows = now.max_rows * factor;
    const double gained = what_if.RecoveredMs(scenario);
    if (gained <= best) continue;
    best = gained;
    advice = absl::StrFormat("raise max_batch_size from %d to %d: %s", now.max_rows,
                             scenario.controls.max_rows, Becomes(p99_ms, gained));
  }
  const int cpus = static_cast<int>(parts.host.cpu_budget_cores);
  if (now.instances < cpus) {
    Scenario scenario = what_if.AsIs();
    scenario.backlog = 0;
    scenario.controls.instances = cpus;
    const double gained = what_if.RecoveredMs(scenario);
    if (gained > best) {
      advice = absl::StrFormat("raise instance_group count from %d to %d: %s", now.instances, cpus,
                               Becomes(p99_ms, gained));
    }
  }
  if (!advice.empty()) return advice;
  return absl::StrFormat(
      "send at most %.0f rows/s here and add a replica for the rest; until then refuse early, with "
      "dynamic_batching default_queue_policy max_queue_size or default_timeout_microseconds",
      parts.capacity_rows_per_s * parts.thresholds.light_saturation);
}

void FindOverload(const WindowParts& parts, const WhatIf& what_if,
                  std::vector<Candidate>& candidates) {
  const JudgeThresholds& thresholds = parts.thresholds;
  const bool lost = parts.lost_share > thresholds.max_lost_share;
  const bool saturated = parts.saturation >= thresholds.overload_saturation ||
                         (lost && parts.saturation >= kRefusedSaturation);
  if (!saturated && parts.burst_share < thresholds.burst_share) return;
  Scenario clean = what_if.Undisturbed();
  Scenario light = clean;
  light.backlog = 0;
  light.arriving = std::min(
      thresholds.light_saturation / std::max(parts.saturation, thresholds.burst_saturation), 1.0);
  if (!saturated) clean.backlog = 0;
  const double gained = what_if.RecoveredMs(what_if.P99(clean), what_if.P99(light));
  Finding finding = FindingOf(Cause::kOverload, gained);
  finding.evidence = absl::StrFormat(
      "queue %s of %s on average; %.0f rows/s arrive%s, %.0f can be computed (%s of that in use); "
      "%s "
      "refused or expired",
      TimeText(parts.mean.queue), TimeText(parts.mean.latency), parts.offered_rows_per_s,
      saturated ? "" : " with bursts above what can be computed", parts.capacity_rows_per_s,
      PercentText(parts.saturation), PercentText(parts.lost_share));
  finding.advice = AdviseCapacity(parts, what_if);
  candidates.push_back({.finding = std::move(finding), .matters = lost && saturated});
}

// Closed batches that wait for a worker, and requests that wait to be taken at all, while the
// server uses all its CPUs: it has too much to do, whatever this model's own load.
void FindNoWorkers(const WindowParts& parts, std::vector<Candidate>& candidates) {
  const JudgeThresholds& thresholds = parts.thresholds;
  if (parts.mean.waking + parts.mean.transit < thresholds.worker_wait_share * parts.mean.latency ||
      !parts.CpusUsedUp() || parts.throttled_gate) {
    return;  // what is short under a quota is the quota
  }
  // What waits while the model is loaded waits for that: see FindColdStart.
  const double left = parts.LatencyP99([&](const RequestParts& request) {
    return parts.WhileLoading(request) ? 0 : request.waking + request.transit;
  });
  Finding finding = FindingOf(Cause::kOverload, (parts.p99 - left) * 1e-6);
  finding.evidence = absl::StrFormat(
      "requests wait %s and closed batches %s of %s on average for a thread of the server, which "
      "uses %.2f of %.2f CPUs",
      TimeText(parts.mean.transit), TimeText(parts.mean.waking), TimeText(parts.mean.latency),
      parts.BusiestCores(), parts.host.cpu_budget_cores);
  finding.advice = absl::StrCat(
      "move other models to a replica, lower their instance_group count, or give the server more "
      "CPUs (its control group's limit, --cpu-budget): p99 ",
      TimeText(parts.p99), " -> about ", TimeText(left));
  candidates.push_back({.finding = std::move(finding)});
}

void FindFormation(const WindowParts& parts, const WhatIf& what_if,
                   std::vector<Candidate>& candidates) {
  if (parts.mean.formation <= 0) return;
  const auto delay_ns = static_cast<double>(parts.window.controls.max_delay_ns);
  // Of a longer latency it is too small a share.
  const double longest = parts.mean.formation / parts.thresholds.formation_share;
  double gained = 0;
  if (delay_ns > 0) {
    // Where executions are disturbed, those that come sooner are disturbed as much and may gain
    // nothing, and the delay is little beside that; what it alone costs is seen without.
    Scenario scenario = what_if.AsIs(), undisturbed = what_if.Undisturbed();
    const double undisturbed_p99 = what_if.P99(undisturbed);
    if (std::min(parts.mean.latency, undisturbed_p99) > longest) return;
    scenario.controls.max_delay_ns = undisturbed.controls.max_delay_ns = 0;
    gained = std::max(what_if.RecoveredMs(scenario),
                      what_if.RecoveredMs(undisturbed_p99, what_if.P99(undisturbed)));
  } else {
    if (parts.mean.latency > longest) return;
    gained = (parts.p99 -
              parts.LatencyP99([](const RequestParts& request) { return request.formation; })) *
             1e-6;
  }
  Finding finding = FindingOf(Cause::kBatchFormationWait, gained);
  finding.evidence = absl::StrFormat(
      "%s of %s on average pass waiting for company while an instance is free; batches have %.1f "
      "rows of %d",
      TimeText(parts.mean.formation), TimeText(parts.mean.latency), parts.mean_batch_rows,
      parts.window.controls.max_rows);
  finding.advice =
      absl::StrFormat("lower dynamic_batching max_queue_delay_microseconds from %.0f to 0: %s",
                      delay_ns * 1e-3, Becomes(parts.p99 * 1e-6, gained));
  if (parts.throttled_gate) {
    absl::StrAppend(&finding.advice,
                    "; or less: a batch that waits takes a timer and a thread, whose CPU time the "
                    "quota has not");
  }
  candidates.push_back({.finding = std::move(finding)});
}

void FindPadding(const WindowParts& parts, const WhatIf& what_if,
                 std::vector<Candidate>& candidates) {
  if (parts.padding < parts.thresholds.padding_ratio) return;
  Scenario scenario = what_if.AsIs();
  scenario.padded = false;
  const double gained = what_if.RecoveredMs(scenario);
  Finding finding = FindingOf(Cause::kPaddingWaste, gained);
  finding.evidence = absl::StrFormat(
      "%.2f rows are computed for each that was asked for; a row "
      "costs %s",
      parts.padding, TimeText(parts.clean.b_ms * 1e6));
  finding.advice = absl::StrCat(
      "send batches of the sizes that run without padding, or name those as dynamic_batching "
      "preferred_batch_size: ",
      Becomes(parts.p99 * 1e-6, gained));
  candidates.push_back({.finding = std::move(finding)});
}

// What an undisturbed execution of its batch takes, of a request's latency.
double CleanCompute(const WindowParts& parts, const RequestParts& request) {
  const RequestRecord& record = parts.window.requests[static_cast<size_t>(request.record)];
  return std::min(request.compute,
                  parts.CleanNanos(std::max(record.batch_rows, 1) * parts.padding));
}

// Whether a single request, alone and undisturbed, is too slow, or the instances have no time left.
bool ReasonToComplain(const WindowParts& parts) {
  const double objective_ns = parts.window.objective.p99_ms * 1e6;
  if (objective_ns <= 0) return parts.saturation >= parts.thresholds.limit_saturation;
  return parts.p99 > objective_ns &&
         parts.ideal >= parts.thresholds.limit_of_objective * objective_ns;
}

Finding LimitFinding(const WindowParts& parts, bool memory, double gained) {
  Finding finding = FindingOf(memory ? Cause::kMemoryBound : Cause::kComputeBound, gained);
  finding.evidence = absl::StrFormat(
      "computing takes %s of %s on average, at %s of what a core can %s; the time of n rows is "
      "%.3f ms + %.3f ms n",
      TimeText(parts.mean.compute), TimeText(parts.mean.latency),
      PercentText(memory ? parts.limit_share.memory : parts.limit_share.compute),
      memory ? "read" : "compute", parts.clean.a_ms, parts.clean.b_ms);
  if (memory) {
    finding.advice = absl::StrFormat(
        "raise max_batch_size from %d, so that weights are read once for more rows; fewer bits or "
        "pruned weights read less",
        parts.window.controls.max_rows);
  } else {
    finding.advice =
        "more CPUs for a batch (--cpu-budget, --intra-op-threads), parameters precision \"fast\" "
        "for its float layers, --tune, a smaller model, or a relaxed objective";
  }
  return finding;
}

void FindLimits(const WindowParts& parts, std::vector<Candidate>& candidates) {
  const LimitShare& share = parts.limit_share;
  if (!ReasonToComplain(parts)) return;
  const bool memory = share.memory > share.compute;
  if (std::max(share.memory, share.compute) < parts.thresholds.limit_share) return;
  double computing = 0;
  for (const RequestParts& request : parts.requests) computing += CleanCompute(parts, request);
  computing /= static_cast<double>(parts.requests.size());
  const double here = parts.mean.latency - parts.mean.transit - parts.mean.write;
  if (computing < parts.thresholds.limit_compute_share * here) return;
  const double left =
      parts.LatencyP99([&](const RequestParts& request) { return CleanCompute(parts, request); });
  candidates.push_back({.finding = LimitFinding(parts, memory, (parts.p99 - left) * 1e-6)});
}

// Executions that never wait and yet take longer than they used to: somebody else uses what they
// need on the CPU. Memory, where that is what the model needs; then it reads at what is left.
void FindSlowed(const WindowParts& parts, const WhatIf& what_if,
                std::vector<Candidate>& candidates) {
  const double slowed = parts.SlowedOnCpu();
  if (parts.known_line.samples < kSlowedSamples || slowed < parts.thresholds.slowed_on_cpu) return;
  const bool memory = parts.limit_share.memory > parts.limit_share.compute &&
                      parts.limit_share.memory * slowed >= parts.thresholds.limit_share;
  if (!memory && !parts.neighbour_gate) return;
  Scenario scenario = what_if.AsIs();
  for (double& scale : scenario.scale) scale /= slowed;
  const double gained = what_if.RecoveredMs(scenario);
  Finding finding = LimitFinding(parts, memory, gained);
  absl::StrAppend(&finding.evidence, "; ", absl::StrFormat("%.2f", slowed),
                  " times as long as before, without waiting for a CPU");
  if (!memory) {
    finding.cause = Cause::kNoisyNeighbour;
    finding.advice = absl::StrCat("move other work off these CPUs, or set its cpuset apart: ",
                                  Becomes(parts.p99 * 1e-6, gained));
  }
  candidates.push_back({.finding = std::move(finding)});
}

}  // namespace

void FindLoadCauses(const WindowParts& parts, const WhatIf& what_if,
                    std::vector<Candidate>& candidates) {
  FindOverload(parts, what_if, candidates);
  FindNoWorkers(parts, candidates);
  FindFormation(parts, what_if, candidates);
  FindPadding(parts, what_if, candidates);
  FindLimits(parts, candidates);
  FindSlowed(parts, what_if, candidates);
}

}  // namespace bitmill
