#include "server/tracing/trace_exporter.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/this_thread.h"

namespace bitmill {
namespace {

// https://opentelemetry.io/docs/specs/otlp/, "Failures" of OTLP/gRPC. ResourceExhausted counts only
// with retry information, which is not read.
bool IsPassing(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
      return true;
    default:
      return false;
  }
}

bool SameExecution(const TracedRequest& a, const TracedRequest& b) {
  return a.computed_ns != 0 && a.computed_ns == b.computed_ns && a.model == b.model &&
         a.version == b.version;
}

}  // namespace

std::optional<int64_t> RetryPause(const TraceExporterOptions& options, absl::StatusCode code,
                                  int attempt, uint64_t random) {
  if (!IsPassing(code) || attempt > options.attempts) return std::nullopt;
  int64_t pause = options.first_pause_ns;
  for (int i = 2; i < attempt && pause < options.longest_pause_ns; ++i) pause *= 2;
  pause = std::max<int64_t>(std::min(pause, options.longest_pause_ns), 2);
  return pause / 2 + static_cast<int64_t>(random % static_cast<uint64_t>(pause / 2));
}

std::vector<TracedRequest> TakeRipe(std::vector<TracedRequest>& waiting, MonotonicNanos before) {
  const auto ripe_begin = std::stable_partition(
      waiting.begin(), waiting.end(),
      [before](const TracedRequest& request) { return request.finished_ns >= before; });
  std::vector<TracedRequest> ripe(std::make_move_iterator(ripe_begin),
                                  std::make_move_iterator(waiting.end()));
  waiting.erase(ripe_begin, waiting.end());
  std::ranges::stable_sort(ripe, {}, [](const TracedRequest& request) {
    return std::tie(request.computed_ns, request.model, request.version);
  });
  return ripe;
}

size_t ChunkSize(absl::Span<const TracedRequest> ripe, size_t begin, size_t most) {
  size_t size = std::min(most, ripe.size() - begin);
  while (begin + size < ripe.size() && SameExecution(ripe[begin + size - 1], ripe[begin + size])) {
    ++size;
  }
  return size;
}

TraceExporter::TraceExporter(const TraceExporterOptions& options, TraceResource resource,
                             uint64_t seed, std::unique_ptr<TraceTransport> transport,
                             const Clock& clock)
    : options_(options),
      resource_(std::move(resource)),
      seed_(seed),
      transport_(std::move(transport)),
      clock_(clock) {
  taken_.reserve(options_.max_waiting);
  {
    MutexLock lock(&mutex_);
    waiting_.reserve(options_.max_waiting);
  }
  thread_ = std::thread([this] { Run(); });
}

void TraceExporter::Add(TracedRequest request) {
  {
    MutexLock lock(&mutex_);
    if (!stop_ && waiting_.size() < options_.max_waiting) {
      waiting_.push_back(std::move(request));
      return;
    }
  }
  dropped_full_.fetch_add(1, std::memory_order_relaxed);
}

void TraceExporter::Stop() {
  {
    MutexLock lock(&mutex_);
    if (!stop_.exchange(true)) stopped_ns_ = clock_.Now();
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void TraceExporter::Pause(int64_t ns) {
  const MonotonicNanos end = clock_.Now() + ns;
  MutexLock lock(&mutex_);
  for (int64_t left = ns; !stop_ && left > 0; left = end - clock_.Now()) {
    changed_.WaitFor(&mutex_, left);
  }
}

void TraceExporter::TakeWaiting(std::vector<TracedRequest>& held) {
  {
    MutexLock lock(&mutex_);
    std::swap(taken_, waiting_);
  }
  std::ranges::move(taken_, std::back_inserter(held));
  taken_.clear();
}

void TraceExporter::Run() {
  NameThisThread("trace-export");
  WorkInBackground();
  std::vector<TracedRequest> held;
  bool last = false;
  while (!last) {
    Pause(options_.period_ns);
    last = stop_;
    TakeWaiting(held);
    const MonotonicNanos now = clock_.Now();
    Export(TakeRipe(held, last ? now + 1 : now - options_.hold_back_ns));
  }
}

void TraceExporter::Export(absl::Span<const TracedRequest> ripe) {
  size_t size = 0;
  for (size_t begin = 0; begin < ripe.size(); begin += size) {
    size = ChunkSize(ripe, begin, options_.max_sent_together);
    SendChunk(ripe.subspan(begin, size));
  }
}

absl::StatusOr<int64_t> TraceExporter::Send(const std::string& message, bool last) {
  if (!last) return transport_->Send(message, options_.timeout_ns, &stop_);
  int64_t left_ns = 0;
  {
    MutexLock lock(&mutex_);
    left_ns = stopped_ns_ + options_.last_timeout_ns - clock_.Now();
  }
  if (left_ns <= 0) return absl::DeadlineExceededError("no time is left before the end");
  return transport_->Send(message, left_ns, nullptr);
}

void TraceExporter::SendChunk(absl::Span<const TracedRequest> chunk) {
  const auto requests = static_cast<int64_t>(chunk.size());
  const ExportMessage message = MakeExportMessage(chunk, resource_, seed_);
  for (int attempt = 1;; ++attempt) {
    const bool last = stop_;
    const absl::StatusOr<int64_t> refused = Send(message.bytes, last);
    if (refused.ok()) {
      exported_.fetch_add(requests, std::memory_order_relaxed);
      spans_refused_.fetch_add(*refused, std::memory_order_relaxed);
      failing_ = false;
      return;
    }
    failed_calls_.fetch_add(1, std::memory_order_relaxed);
    if (!last) {
      if (stop_) continue;  // once more, within the time that is left
      const std::optional<int64_t> pause =
          RetryPause(options_, refused.status().code(), attempt + 1, SplitMix64(seed_, pauses_++));
      if (pause) {
        Pause(*pause);
        continue;
      }
    }
    dropped_failed_.fetch_add(requests, std::memory_order_relaxed);
    if (!failing_) {
      LogWarning(absl::StrCat("the collector takes no traces, which are dropped and counted: ",
                              refused.status().ToString()));
    }
    failing_ = true;
    return;
  }
}

TraceCounts TraceExporter::Counts() const {
  return {.exported = exported_.load(std::memory_order_relaxed),
          .dropped_full = dropped_full_.load(std::memory_order_relaxed),
          .dropped_failed = dropped_failed_.load(std::memory_order_relaxed),
          .spans_refused = spans_refused_.load(std::memory_order_relaxed),
          .failed_calls = failed_calls_.load(std::memory_order_relaxed)};
}

std::vector<MetricPoint> TraceExporter::Points() const {
  const TraceCounts counts = Counts();
  const auto requests = [](const char* result, int64_t value) {
    return MetricPoint{.name = "bitmill_traced_requests_total",
                       .help = "Requests that were traced, by what became of their spans",
                       .type = MetricType::kCounter,
                       .labels = {{"result", result}},
                       .value = static_cast<double>(value)};
  };
  return {requests("exported", counts.exported), requests("dropped_full", counts.dropped_full),
          requests("dropped_failed", counts.dropped_failed),
          MetricPoint{.name = "bitmill_trace_spans_refused_total",
                      .help = "Spans that the collector refused",
                      .type = MetricType::kCounter,
                      .value = static_cast<double>(counts.spans_refused)},
          MetricPoint{.name = "bitmill_trace_failed_calls_total",
                      .help = "Calls to the collector that failed",
                      .type = MetricType::kCounter,
                      .value = static_cast<double>(counts.failed_calls)}};
}

}  // namespace bitmill
