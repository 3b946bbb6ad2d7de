#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/analysis/causes.h"
#include "server/analysis/judge.h"

namespace bitmill {
namespace {

constexpr double kAllCpus = 0.95;  // of the CPUs that the process may use

// What the cause costs the model that it costs most; null: it costs none anything.
const Finding* Worst(Cause cause, absl::Span<const Diagnosis> models, size_t* model) {
  const Finding* worst = nullptr;
  for (size_t i = 0; i < models.size(); ++i) {
    if (models[i].cause == Cause::kHealthy) continue;
    for (const Finding& finding : models[i].findings) {
      if (finding.cause != cause) continue;
      if (worst != nullptr && finding.recoverable_p99_ms <= worst->recoverable_p99_ms) continue;
      worst = &finding;
      *model = i;
    }
  }
  return worst;
}

std::string Signals(Cause cause, const HostWindow& host) {
  switch (cause) {
    case Cause::kCpuThrottled:
      return absl::StrFormat("held back by the CPU quota %s of the time, in %s of its periods",
                             PercentText(std::max(host.throttled_share, 0.0)),
                             PercentText(std::max(host.throttled_periods_share, 0.0)));
    case Cause::kNoisyNeighbour:
      return absl::StrFormat(
          "others use %.1f of our %.0f CPUs, threads were ready but not running for "
          "%.2f s a second",
          std::max(OthersOf(host).cores, 0.0), OthersOf(host).of_cores,
          std::max(host.run_queue_wait_cores, 0.0));
    case Cause::kMemoryPressure:
      return absl::StrFormat(
          "something of %s waited for memory %s of the time, %.1f pages a second read from a disk, "
          "limit hit %.1f/s",
          MemoryStallOf(host).of, PercentText(std::max(MemoryStallOf(host).share, 0.0)),
          host.major_faults_per_s, host.memory_limit_hits_per_s);
    default:
      return absl::StrFormat("the process uses %.2f of %.2f CPUs", host.process_cpu_cores,
                             host.cpu_budget_cores);
  }
}

}  // namespace

Diagnosis JudgeHost(const Observation& observation, absl::Span<const Diagnosis> models,
                    const JudgeThresholds& thresholds) {
  const HostWindow& host = observation.host;
  Diagnosis diagnosis;
  if (host.seconds <= 0) return diagnosis;  // unknown
  std::vector<Cause> causes;
  if (host.throttled_share >= thresholds.throttled_share ||
      host.throttled_periods_share >= thresholds.throttled_periods_share) {
    causes.push_back(Cause::kCpuThrottled);
  }
  const OthersBusy others = OthersOf(host);
  if (others.cores >= thresholds.neighbour_busy_share * others.of_cores ||
      host.steal_share >= thresholds.steal_share) {
    causes.push_back(Cause::kNoisyNeighbour);
  }
  if (MemoryStallOf(host).share >= thresholds.memory_psi_share ||
      host.memory_limit_hits_per_s >= thresholds.memory_hits_per_s ||
      host.major_faults_per_s >= thresholds.memory_faults_per_s) {
    causes.push_back(Cause::kMemoryPressure);
  }
  if (host.process_cpu_cores >= kAllCpus * host.cpu_budget_cores) {
    causes.push_back(Cause::kOverload);
  }
  for (const Cause cause : causes) {
    size_t model = 0;
    const Finding* const worst = Worst(cause, models, &model);
    if (worst == nullptr) continue;  // it is so, but nobody minds
    Finding finding = *worst;
    finding.evidence = Signals(cause, host);
    if (model < observation.models.size()) {
      absl::StrAppend(&finding.evidence, "; most for model ", observation.models[model].facts.name);
    }
    diagnosis.findings.push_back(std::move(finding));
  }
  std::stable_sort(diagnosis.findings.begin(), diagnosis.findings.end(),
                   [](const Finding& x, const Finding& y) {
                     return x.recoverable_p99_ms > y.recoverable_p99_ms;
                   });
  diagnosis.cause = diagnosis.findings.empty() ? Cause::kHealthy : diagnosis.findings[0].cause;
  diagnosis.confidence = diagnosis.findings.empty() ? 1 : diagnosis.findings[0].confidence;
  return diagnosis;
}

}  // namespace bitmill
