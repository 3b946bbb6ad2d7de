#include "server/tracing/tracer.h"

#include <algorithm>
#include <utility>

namespace bitmill {
namespace {

constexpr double kTwoTo64 = 18446744073709551616.0;

}  // namespace

Tracer::Tracer(double ratio, uint64_t seed, TraceSink& sink, const Clock& clock)
    : threshold_(ratio >= 1 ? 0 : static_cast<uint64_t>(std::max(ratio, 0.0) * kTwoTo64)),
      all_(ratio >= 1),
      seed_(seed),
      sink_(sink),
      clock_(clock) {}

uint64_t Tracer::Next() {
  uint64_t number = 0;
  while (number == 0) number = SplitMix64(seed_, draws_.fetch_add(1, std::memory_order_relaxed));
  return number;
}

std::unique_ptr<TracedRequest> Tracer::Begin(const std::optional<TraceContext>& caller,
                                             const char* method) {
  if (caller ? !caller->sampled : !all_ && (threshold_ == 0 || Next() >= threshold_)) {
    return nullptr;
  }
  auto request = std::make_unique<TracedRequest>();
  request->method = method;
  request->span = Next();
  if (caller) {
    request->trace = caller->trace;
    request->parent_span = caller->parent_span;
    request->state = caller->state;
  } else {
    request->trace = {.high = Next(), .low = Next()};
  }
  return request;
}

void Tracer::End(std::unique_ptr<TracedRequest> request) {
  request->unix_minus_monotonic_ns = clock_.UnixNanos() - clock_.Now();
  sink_.Add(std::move(*request));
}

}  // namespace bitmill
