// What happens before and after the queue: bytes and clients. Their time is in the records as it
// is, so it is taken off each request; nothing queues behind it.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/analysis/causes.h"

namespace bitmill {
namespace {

constexpr double kUsualWriteSpread = 2;  // of a write over the median

// `ns` with only a share of what is beyond the usual.
double Beyond(double ns, double usual_ns, double share) {
  return std::min(ns, usual_ns) + share * std::max(ns - usual_ns, 0.0);
}

void FindSerialization(const WindowParts& parts, std::vector<Candidate>& candidates) {
  if (parts.mean.serialization < parts.thresholds.serialization_share * parts.mean.latency) return;
  const double left =
      parts.LatencyP99([](const RequestParts& request) { return request.serialization; });
  double input = 0, output = 0;
  for (const RequestParts& request : parts.requests) {
    const RequestRecord& record = parts.window.requests[static_cast<size_t>(request.record)];
    input += record.input_bytes;
    output += record.output_bytes;
  }
  const auto count = static_cast<double>(parts.requests.size());
  Finding finding = FindingOf(Cause::kSerialization, (parts.p99 - left) * 1e-6);
  finding.evidence = absl::StrFormat(
      "decoding and encoding take %s of %s on average, for %.0f bytes in and %.0f out",
      TimeText(parts.mean.serialization), TimeText(parts.mean.latency), input / count,
      output / count);
  finding.advice = absl::StrCat(
      "send raw_input_contents instead of typed contents, a smaller datatype, or fewer bytes; "
      "--io-threads decodes more at a time. Without it p99 would be about ",
      TimeText(left), " instead of ", TimeText(parts.p99));
  candidates.push_back({.finding = std::move(finding)});
}

// While the server itself lacks CPUs or memory, is overloaded or loads a model it takes requests
// late and writes late: only what even the quickest requests wait is then the client's. What its
// threads wait for each other at other times is taken off the way in proportion.
void FindSlowClient(const WindowParts& parts, std::vector<Candidate>& candidates) {
  const double way = parts.mean.transit + parts.mean.write;
  const double beyond = std::max(way - parts.quick_transit - parts.usual_write, 0.0);
  const double own_wait = std::min(parts.own_wait, beyond);
  if (way - own_wait < parts.thresholds.client_share * parts.mean.latency) return;
  const double clients = beyond > 0 ? 1 - own_wait / beyond : 1;
  if (parts.CpusUsedUp()) return;  // it takes requests when it can: see FindNoWorkers
  const bool late_itself = parts.throttled_gate || parts.WaitsForOthers() || parts.PagedOut() ||
                           parts.saturation >= parts.thresholds.overload_saturation;
  const double left = parts.LatencyP99([&](const RequestParts& request) {
    const bool late = late_itself || parts.WhileLoading(request);
    if (late) {
      return std::min(request.transit, parts.quick_transit) +
             std::min(request.write, kUsualWriteSpread * parts.usual_write);
    }
    return Beyond(request.transit, parts.quick_transit, clients) +
           Beyond(request.write, parts.usual_write, clients);
  });
  const double recoverable_ms = (parts.p99 - left) * 1e-6;
  if (recoverable_ms < parts.thresholds.usual_way_ms) return;
  Finding finding = FindingOf(Cause::kSlowClient, recoverable_ms);
  finding.evidence = absl::StrFormat(
      "of %s as the client sees them %s pass before the request is here and %s until the answer "
      "is taken; the server needs %s",
      TimeText(parts.mean.latency), TimeText(parts.mean.transit), TimeText(parts.mean.write),
      TimeText(parts.mean.latency - parts.mean.transit - parts.mean.write));
  finding.advice = absl::StrCat(
      "nothing here: read answers sooner, send from nearer, or over more connections; without it "
      "p99 would be about ",
      TimeText(left), " instead of ", TimeText(parts.p99));
  candidates.push_back({.finding = std::move(finding)});
}

}  // namespace

Finding FindingOf(Cause cause, double recoverable_p99_ms) {
  Finding finding;
  finding.cause = cause;
  finding.recoverable_p99_ms = recoverable_p99_ms;
  return finding;
}

std::string TimeText(double ns) {
  if (ns < 99'500) return absl::StrFormat("%.0f us", ns * 1e-3);
  if (ns < 9'950'000) return absl::StrFormat("%.2f ms", ns * 1e-6);
  if (ns < 99'500'000) return absl::StrFormat("%.1f ms", ns * 1e-6);
  return absl::StrFormat("%.0f ms", ns * 1e-6);
}

std::string PercentText(double share) { return absl::StrFormat("%.0f %%", share * 100); }

void FindEdgeCauses(const WindowParts& parts, std::vector<Candidate>& candidates) {
  FindSerialization(parts, candidates);
  FindSlowClient(parts, candidates);
}

}  // namespace bitmill
