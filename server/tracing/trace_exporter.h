// Carries traced requests to a collector, on a thread of its own. The request path only puts them
// into a bounded list: when the collector is slow or away, requests are dropped and counted, and
// nobody waits.
//
// Requests are held back for a moment so that those of one batch are sent together, then sent some
// dozens at a time. What fails for a passing reason is tried again with growing pauses, a few
// times.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/metrics/metric_point.h"
#include "server/tracing/otlp_messages.h"
#include "server/tracing/trace_transport.h"
#include "server/tracing/tracer.h"

namespace bitmill {

struct TraceExporterOptions {
  size_t max_waiting = 4096;  // requests; more are dropped
  size_t max_sent_together = 64;
  int64_t period_ns = 1'000'000'000;   // between two looks at what waits
  int64_t hold_back_ns = 250'000'000;  // after its answer a request waits for those of its batch
  int64_t timeout_ns = 5'000'000'000;  // of one call
  int64_t last_timeout_ns = 1'000'000'000;  // of all that is sent once Stop was called
  int attempts = 5;
  int64_t first_pause_ns = 500'000'000;  // doubles with each attempt
  int64_t longest_pause_ns = 10'000'000'000;
};

// What became of the traced requests, and of calls.
struct TraceCounts {
  int64_t exported = 0;
  int64_t dropped_full = 0;    // too many waited
  int64_t dropped_failed = 0;  // no attempt succeeded
  int64_t spans_refused = 0;   // by the collector, of exported requests
  int64_t failed_calls = 0;
};

// How long to wait before attempt number `attempt` (2 is the first retry), somewhere between the
// half and all of the doubled pause, by `random`. Nothing: give up. The codes that OTLP wants tried
// again are passing reasons.
std::optional<int64_t> RetryPause(const TraceExporterOptions& options, absl::StatusCode code,
                                  int attempt, uint64_t random);

// Moves the requests that were answered before `before` from `waiting` to the result, those of one
// execution next to each other.
std::vector<TracedRequest> TakeRipe(std::vector<TracedRequest>& waiting, MonotonicNanos before);

// How many of `ripe`, from `begin` on, to send together: about `most`, and whole executions.
size_t ChunkSize(absl::Span<const TracedRequest> ripe, size_t begin, size_t most);

class TraceExporter final : public TraceSink {
 public:
  // `seed` as in MakeExportMessage. Borrows the clock.
  TraceExporter(const TraceExporterOptions& options, TraceResource resource, uint64_t seed,
                std::unique_ptr<TraceTransport> transport, const Clock& clock);
  ~TraceExporter() override { Stop(); }

  void Add(TracedRequest request) override;
  // Sends what waits, once, within last_timeout_ns; later requests are dropped. Idempotent.
  void Stop();

  TraceCounts Counts() const;
  // The counts, for the metrics page.
  std::vector<MetricPoint> Points() const;

 private:
  void Run();
  // Returns early when Stop is called.
  void Pause(int64_t ns);
  void TakeWaiting(std::vector<TracedRequest>& held);
  void Export(absl::Span<const TracedRequest> ripe);
  void SendChunk(absl::Span<const TracedRequest> chunk);
  absl::StatusOr<int64_t> Send(const std::string& message, bool last);

  const TraceExporterOptions options_;
  const TraceResource resource_;
  const uint64_t seed_;
  const std::unique_ptr<TraceTransport> transport_;
  const Clock& clock_;

  Mutex mutex_;
  CondVar changed_;
  std::vector<TracedRequest> waiting_ ABSL_GUARDED_BY(mutex_);
  MonotonicNanos stopped_ns_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<bool> stop_{false};  // set under the mutex

  // The thread's own.
  std::vector<TracedRequest> taken_;
  uint64_t pauses_ = 0;
  bool failing_ = false;  // the last requests were dropped
  std::atomic<int64_t> exported_{0}, dropped_full_{0}, dropped_failed_{0}, spans_refused_{0},
      failed_calls_{0};
  std::thread thread_;
};

}  // namespace bitmill
