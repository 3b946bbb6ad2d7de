#include "server/metrics/model_recorder.h"

#include <algorithm>

#include "server/metrics/cpu_stripes.h"

namespace bitmill {
namespace {

size_t CodeIndex(absl::StatusCode code) {
  const int value = static_cast<int>(code);
  return value >= 0 && value < kStatusCodes ? static_cast<size_t>(value)
                                            : static_cast<size_t>(absl::StatusCode::kUnknown);
}

}  // namespace

ModelRecorder::ModelRecorder(uint32_t id) : id_(id), stripes_(CpuStripes()), pages_(kPages) {}

ModelRecorder::~ModelRecorder() {
  for (const std::atomic<Page*>& page : pages_) {
    const std::unique_ptr<Page> owned(page.load(std::memory_order_relaxed));
  }
}

ModelRecorder::Stripe& ModelRecorder::MyStripe() { return stripes_[MyCpuStripe(stripes_.size())]; }

void ModelRecorder::RecordRequest(absl::StatusCode code, int64_t total_ns, int64_t rows,
                                  const StageTimes& stages) {
  Stripe& stripe = MyStripe();
  stripe.requests[CodeIndex(code)].fetch_add(1, std::memory_order_relaxed);
  stripe.duration.Add(total_ns);
  if (code != absl::StatusCode::kOk) return;
  stripe.rows.fetch_add(rows, std::memory_order_relaxed);
  stripe.success_ns.fetch_add(total_ns, std::memory_order_relaxed);
  if (const int64_t objective = objective_ns.load(std::memory_order_relaxed); objective > 0) {
    (total_ns <= objective ? stripe.within_objective : stripe.late)
        .fetch_add(1, std::memory_order_relaxed);
  }
  for (size_t i = 0; i < kStages; ++i) stripe.stages[i].Add(stages.ns[i]);
  const int64_t now_ms = clock_.UnixMillis();
  // Most requests fall into the same millisecond as another: reading leaves the line shared.
  if (last_inference_unix_ms_.load(std::memory_order_relaxed) != now_ms) {
    last_inference_unix_ms_.store(now_ms, std::memory_order_relaxed);
  }
}

ModelRecorder::Page& ModelRecorder::PageOf(size_t index) {
  std::atomic<Page*>& slot = pages_[index];
  Page* page = slot.load(std::memory_order_acquire);
  if (page != nullptr) return *page;
  auto made = std::make_unique<Page>();
  if (slot.compare_exchange_strong(page, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *page;
}

void ModelRecorder::RecordExecution(int64_t rows, int64_t compute_ns) {
  MyStripe().batch_rows.Add(kBatchRowBounds, rows);
  const size_t index = std::min(static_cast<size_t>(std::max<int64_t>(rows, 0)), kPages * 64 - 1);
  Page& page = PageOf(index / 64);
  page.executions[index % 64].fetch_add(1, std::memory_order_relaxed);
  page.compute_ns[index % 64].fetch_add(compute_ns, std::memory_order_relaxed);
}

void ModelRecorder::RecordExemplar(int64_t total_ns, const TraceId& trace) {
  exemplars_[BucketOf(kDurationBoundsNs, total_ns)].Store(
      {.trace = trace, .value = total_ns, .unix_millis = clock_.UnixMillis()});
}

ModelCounts ModelRecorder::Counts() const {
  ModelCounts counts;
  for (const Stripe& stripe : stripes_) {
    for (size_t i = 0; i < kStatusCodes; ++i) {
      counts.requests[i] += stripe.requests[i].load(std::memory_order_relaxed);
    }
    counts.rows += stripe.rows.load(std::memory_order_relaxed);
    counts.success_ns += stripe.success_ns.load(std::memory_order_relaxed);
    counts.within_objective += stripe.within_objective.load(std::memory_order_relaxed);
    counts.late += stripe.late.load(std::memory_order_relaxed);
    stripe.duration.AddTo(counts.duration);
    for (size_t i = 0; i < kStages; ++i) stripe.stages[i].AddTo(counts.stages[i]);
    stripe.batch_rows.AddTo(counts.batch_rows);
  }
  return counts;
}

ModelStatisticsSnapshot ModelRecorder::Snapshot() const {
  const ModelCounts counts = Counts();
  ModelStatisticsSnapshot snapshot;
  snapshot.requests_ok = counts.requests[0];
  for (size_t i = 1; i < kStatusCodes; ++i) snapshot.requests_failed += counts.requests[i];
  snapshot.rows = counts.rows;
  for (const int64_t count : counts.batch_rows.buckets) snapshot.executions += count;
  snapshot.success_ns = counts.success_ns;
  snapshot.fail_ns = std::max<int64_t>(0, counts.duration.sum - counts.success_ns);
  for (size_t i = 0; i < kStages; ++i) snapshot.stage_ns.ns[i] = counts.stages[i].sum;
  snapshot.last_inference_unix_ms = last_inference_unix_ms_.load(std::memory_order_relaxed);
  for (size_t p = 0; p < kPages; ++p) {
    const Page* page = pages_[p].load(std::memory_order_acquire);
    if (page == nullptr) continue;
    for (size_t i = 0; i < page->executions.size(); ++i) {
      const int64_t executions = page->executions[i].load(std::memory_order_relaxed);
      if (executions == 0) continue;
      snapshot.batches.push_back({static_cast<int64_t>(p * 64 + i), executions,
                                  page->compute_ns[i].load(std::memory_order_relaxed)});
    }
  }
  return snapshot;
}

}  // namespace bitmill
