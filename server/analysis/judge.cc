#include "server/analysis/judge.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/analysis/causes.h"
#include "server/analysis/what_if.h"
#include "server/analysis/window_parts.h"

namespace bitmill {
namespace {

constexpr double kFewRequests = 20;  // half the confidence that many would give

Diagnosis Only(Cause cause, double confidence, std::string evidence, std::string advice = "") {
  return {.cause = cause,
          .confidence = confidence,
          .findings = {{.cause = cause,
                        .confidence = confidence,
                        .evidence = std::move(evidence),
                        .advice = std::move(advice)}}};
}

double StageSumError(const WindowParts& parts) {
  double gaps = 0, totals = 0;
  for (const RequestParts& request : parts.requests) {
    const RequestRecord& record = parts.window.requests[static_cast<size_t>(request.record)];
    int64_t sum = 0;
    for (const int64_t ns : record.stages.ns) sum += ns;
    gaps += static_cast<double>(std::abs(sum - record.total_ns));
    totals += static_cast<double>(record.total_ns);
  }
  return totals > 0 ? gaps / totals : 0;
}

// Whether anybody would mind.
bool Complaint(const WindowParts& parts) {
  if (parts.lost_share > parts.thresholds.max_lost_share) return true;
  const double p99_ms = parts.p99 * 1e-6;
  if (parts.window.objective.p99_ms > 0) return p99_ms > parts.window.objective.p99_ms;
  return p99_ms > parts.thresholds.suspicious_ms &&
         parts.p99 > parts.thresholds.suspicious_of_ideal * parts.ideal;
}

// p99 of the time of requests that take turns on the server's CPUs, with the CPU time that they
// take on average and the share of the CPUs in use: M/M/c (Erlang C). ns; 0 where it is not known.
double TurnsOnCpusP99(const HostWindow& host) {
  const int cpus = std::max(static_cast<int>(host.cpu_budget_cores), 1);
  const double busy = host.process_cpu_cores;
  if (host.requests_per_s <= 0 || busy <= 0 || busy >= cpus) return 0;
  double blocked = 1;  // Erlang B
  for (int c = 1; c <= cpus; ++c) blocked = busy * blocked / (c + busy * blocked);
  const double waits = blocked / (1 - busy / cpus * (1 - blocked));
  const double each_ns = busy / host.requests_per_s * 1e9;
  return each_ns * (1 + std::max(std::log(100 * waits), 0.0) / (cpus - busy));
}

// Whether the load as it is already gives most of the p99 that was seen. Either on undisturbed
// executions with nothing around them but decoding and encoding: full batches one behind the other,
// short of saturation. Or because requests and executions take turns on the server's own CPUs.
bool UsualForTheLoad(const WindowParts& parts, const WhatIf& what_if) {
  if (!parts.throttled_gate && !parts.neighbour_gate &&
      TurnsOnCpusP99(parts.host) >= parts.thresholds.usual_share * parts.p99) {
    return true;
  }
  Scenario scenario = what_if.Undisturbed();
  for (size_t i = 0; i < parts.requests.size(); ++i) {
    const RequestParts& of = parts.requests[i];
    scenario.less_ns[i] = of.latency - of.queue - of.formation - of.compute - of.serialization;
  }
  return what_if.P99(scenario) >= parts.thresholds.usual_share * parts.p99;
}

// What a cause has to recover where `left_ms` of p99 are left to recover.
double LeastRecoverableMs(const WindowParts& parts, double left_ms) {
  const JudgeThresholds& thresholds = parts.thresholds;
  const double absolute = parts.window.objective.p99_ms > 0
                              ? thresholds.min_share_of_objective * parts.window.objective.p99_ms
                              : thresholds.min_recoverable_ms;
  return std::max({thresholds.min_recoverable_share * left_ms,
                   thresholds.min_recoverable_of_ideal * parts.ideal * 1e-6, absolute});
}

// Whether the objective is missed by the time spent here: what a client waits for beyond the server
// is no part of it, and no reason for that.
bool MissedHere(const WindowParts& parts) {
  const double objective_ms = parts.window.objective.p99_ms;
  if (objective_ms <= 0) return false;
  const double here =
      parts.LatencyP99([](const RequestParts& request) { return request.transit + request.write; });
  return here * 1e-6 > objective_ms;
}

// Those that count, one a cause, largest first. Each is measured against what the larger ones leave
// of p99: beside a quota that costs 400 ms a delay of 20 ms is little, and all there is once the
// quota is gone.
std::vector<Candidate> Counted(const WindowParts& parts, std::vector<Candidate> candidates) {
  std::stable_sort(candidates.begin(), candidates.end(), [](const auto& x, const auto& y) {
    return x.finding.recoverable_p99_ms > y.finding.recoverable_p99_ms;
  });
  std::vector<Candidate> counted;
  double left_ms = parts.p99 * 1e-6;
  for (Candidate& candidate : candidates) {
    const Cause cause = candidate.finding.cause;
    const bool known = std::any_of(counted.begin(), counted.end(), [cause](const Candidate& other) {
      return other.finding.cause == cause;
    });
    const double gained_ms = candidate.finding.recoverable_p99_ms;
    if (known || (!candidate.matters && gained_ms < LeastRecoverableMs(parts, left_ms))) continue;
    left_ms = std::max(left_ms - gained_ms, 0.0);
    counted.push_back(std::move(candidate));
  }
  return counted;
}

// From the margin to the next one and from how much was seen.
void SetConfidence(double requests, std::vector<Finding>& findings) {
  const double seen = requests / (requests + kFewRequests);
  const double first = findings[0].recoverable_p99_ms;
  const double second = findings.size() > 1 ? findings[1].recoverable_p99_ms : 0;
  const double margin = first > 0 ? (first - second) / first : 0;
  findings[0].confidence = seen * (0.5 + 0.5 * margin);
  for (size_t i = 1; i < findings.size(); ++i) {
    const double score = findings[i].recoverable_p99_ms;
    findings[i].confidence = seen * (first > 0 ? score / (first + score) : 0.5);
  }
}

Diagnosis TooLittle(const WindowParts& parts) {
  const ModelWindow& window = parts.window;
  if (window.arrived >= parts.thresholds.min_requests && parts.lost_share > 0.5) {
    return Only(Cause::kOverload, 0.5,
                absl::StrFormat("%d of %d requests were refused or expired",
                                window.refused + window.expired, window.arrived),
                "send less here, or give the model more instances (instance_group count) or "
                "replicas");
  }
  return Only(Cause::kUnknown, 0,
              absl::StrFormat("%d requests and %d executions seen, %d and %d are needed",
                              parts.requests.size(), parts.executions.size(),
                              parts.thresholds.min_requests, parts.thresholds.min_executions));
}

Diagnosis NothingFound(const WindowParts& parts, bool complaint) {
  const double requests = static_cast<double>(parts.requests.size());
  const double seen = requests / (requests + kFewRequests);
  const std::string numbers = absl::StrCat(
      "p99 ", TimeText(parts.p99), ", a lone undisturbed request takes ", TimeText(parts.ideal),
      "; computing at ",
      PercentText(std::max({parts.limit_share.compute, parts.limit_share.memory, 0.0})),
      " of the machine's limit, ", PercentText(parts.saturation), " of capacity used");
  if (!complaint) return Only(Cause::kHealthy, seen, numbers);
  if (parts.CpusUsedUp() && !parts.throttled_gate && !parts.neighbour_gate) {
    return Only(Cause::kOverload, 0.5 * seen,
                absl::StrFormat("%s; the server uses %.2f of its %.2f CPUs: whatever waits for one "
                                "waits for the server itself",
                                numbers, parts.BusiestCores(), parts.host.cpu_budget_cores),
                "send less here, give the server more CPUs (its control group's limit, "
                "--cpu-budget), or add a replica");
  }
  if (parts.host.steal_share >= parts.thresholds.steal_share_of_tail) {
    return Only(Cause::kNoisyNeighbour, 0.5 * seen,
                absl::StrFormat("%s; nothing here explains it, and the hypervisor took %.1f %% of "
                                "the CPUs' time, which the slowest hundredth of the requests feels",
                                numbers, parts.host.steal_share * 100),
                "move other machines off this host, or give this one CPUs of its own");
  }
  return Only(Cause::kUnknown, 0.5 * seen, absl::StrCat(numbers, "; no cause explains it"));
}

Diagnosis JudgeParts(const WindowParts& parts) {
  const ModelWindow& window = parts.window;
  const JudgeThresholds& thresholds = parts.thresholds;
  const WhatIf what_if(parts);
  std::vector<Candidate> candidates;
  FindLoadCauses(parts, what_if, candidates);
  FindDisturbances(parts, what_if, candidates);
  FindEdgeCauses(parts, candidates);
  candidates = Counted(parts, std::move(candidates));
  const bool complaint = Complaint(parts);
  if (candidates.empty()) {
    const bool usual = complaint && window.objective.p99_ms <= 0 &&
                       parts.lost_share <= thresholds.max_lost_share &&
                       UsualForTheLoad(parts, what_if);
    return NothingFound(parts, complaint && !usual);
  }

  Diagnosis diagnosis;
  for (Candidate& candidate : candidates)
    diagnosis.findings.push_back(std::move(candidate.finding));
  SetConfidence(static_cast<double>(parts.requests.size()), diagnosis.findings);
  const bool content = window.objective.p99_ms > 0 && !complaint;
  diagnosis.cause = content ? Cause::kHealthy : diagnosis.findings[0].cause;
  diagnosis.confidence = diagnosis.findings[0].confidence;
  if (diagnosis.cause != Cause::kSlowClient || !MissedHere(parts)) return diagnosis;
  if (diagnosis.findings.size() > 1) {
    diagnosis.cause = diagnosis.findings[1].cause;
    return diagnosis;
  }
  Diagnosis nothing = NothingFound(parts, complaint);
  nothing.findings.push_back(std::move(diagnosis.findings[0]));
  return nothing;
}

}  // namespace

Diagnosis JudgeModel(const ModelWindow& window, const HostWindow& host, const MachineLimits& limits,
                     const ServiceLine& line, const JudgeThresholds& thresholds) {
  const WindowParts parts(window, host, limits, line, thresholds);
  const auto requests = static_cast<int64_t>(parts.requests.size());
  const auto executions = static_cast<int64_t>(parts.executions.size());
  if (requests < thresholds.min_requests || executions < thresholds.min_executions) {
    return TooLittle(parts);
  }
  const double stage_sum_error = StageSumError(parts);
  if (stage_sum_error > thresholds.max_stage_sum_error) {
    return Only(Cause::kUnknown, 0,
                absl::StrCat("stages and totals of requests differ by ",
                             PercentText(stage_sum_error), ": the records are no evidence"));
  }
  Diagnosis diagnosis = JudgeParts(parts);
  diagnosis.p99_ms = parts.p99 * 1e-6;
  return diagnosis;
}

MonotonicNanos WarmSince(const ModelWindow& window, const HostWindow& host,
                         const MachineLimits& limits, const ServiceLine& line,
                         const JudgeThresholds& thresholds) {
  const auto since_load = [&window](MonotonicNanos at_ns) {
    return static_cast<double>(at_ns - window.facts.loaded_ns) * 1e-9;
  };
  if (since_load(window.begin_ns) >= thresholds.cold_seconds ||
      since_load(window.end_ns) < thresholds.warm_after_seconds ||
      std::ssize(window.executions_seen) < thresholds.min_executions) {
    return 0;
  }
  return WarmSince(WindowParts(window, host, limits, line, thresholds));
}

}  // namespace bitmill
