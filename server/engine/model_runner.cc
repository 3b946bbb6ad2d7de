#include "server/engine/model_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "base/this_thread.h"
#include "base/thread_usage.h"

namespace bitmill {
namespace {

// Measuring what the thread had of the machine costs about a microsecond: each execution of this
// length is measured, of shorter ones some.
constexpr int64_t kLongRunNanos = 100'000;
constexpr uint32_t kShortRunsEach = 16;

absl::StatusOr<BatcherOptions> MakeBatcherOptions(const ServedModel& model,
                                                  const EngineOptions& options, int concurrency,
                                                  ModelMetrics& metrics) {
  const BatchSettings& settings = model.settings.batch;
  const Signature& signature = model.executable->signature();
  BatcherOptions batcher;
  batcher.name = absl::StrCat("model '", model.name, "' version ", model.version);
  batcher.limits.max_rows =
      signature.batchable ? std::min(settings.max_rows, model.executable->max_rows()) : 1;
  batcher.limits.max_bytes = options.max_batch_bytes;
  for (const TensorSpec& input : signature.inputs) {
    const std::optional<int64_t> sum = CheckedAdd(batcher.limits.row_bytes, input.row_bytes);
    if (!sum) return absl::InternalError(absl::StrCat(batcher.name, ": row bytes overflow"));
    batcher.limits.row_bytes = *sum;
  }
  batcher.limits.preferred_rows = settings.preferred_rows;
  batcher.limits.max_delay_ns =
      CheckedMul(settings.max_delay_us, 1000).value_or(int64_t{3'600'000'000'000});
  batcher.gather = settings.dynamic && signature.batchable;
  batcher.instances = static_cast<int>(InstancesOf(model.settings, concurrency));
  batcher.max_queue_requests = std::max<int64_t>(settings.max_queue_requests, 1);
  batcher.inline_limit_ns = options.inline_limit_ns;
  batcher.queue_depth = &metrics.queue_depth;
  return batcher;
}

}  // namespace

int64_t InstancesOf(const ModelSettings& settings, int concurrency) {
  if (settings.instances <= 0) return concurrency;
  return std::min<int64_t>(settings.instances, concurrency);
}

absl::StatusOr<std::unique_ptr<ModelRunner>> ModelRunner::Create(
    const ServedModel& model, const EngineOptions& options, Scheduler& scheduler,
    ModelMetrics& metrics, TaskGate& gate, const Clock& clock) {
  BITMILL_ASSIGN_OR_RETURN(const BatcherOptions batcher,
                           MakeBatcherOptions(model, options, scheduler.concurrency(), metrics));
  std::unique_ptr<ModelRunner> runner(
      new ModelRunner(model, batcher, options.log, scheduler, metrics, gate, clock));
  BITMILL_RETURN_IF_ERROR(
      runner->WarmUp(model.settings.warmup_requests, EffectiveMaxRows(batcher.limits)));
  metrics.weight_bytes.store(model.executable->weight_bytes(), std::memory_order_relaxed);
  return runner;
}

ModelRunner::ModelRunner(const ServedModel& model, const BatcherOptions& options, RequestLog* log,
                         Scheduler& scheduler, ModelMetrics& metrics, TaskGate& gate,
                         const Clock& clock)
    : executable_(*model.executable),
      metrics_(metrics),
      gate_(gate),
      clock_(clock),
      log_(log),
      loaded_ns_(clock.Now()),
      operations_(model.executable->operations().size()),
      instances_(static_cast<size_t>(options.instances)),
      batcher_(options, *this, scheduler, clock),
      configured_(batcher_.controls()) {
  const Signature& signature = executable_.signature();
  const auto max_rows = static_cast<size_t>(executable_.max_rows());
  for (Instance& instance : instances_) {
    instance.context = executable_.CreateContext();
    instance.input_rows.assign(signature.inputs.size(), std::vector<const std::byte*>(max_rows));
    instance.output_rows.assign(signature.outputs.size(), std::vector<std::byte*>(max_rows));
    for (const auto& rows : instance.input_rows) instance.inputs.push_back(rows.data());
    for (const auto& rows : instance.output_rows) instance.outputs.push_back(rows.data());
  }
}

absl::Status ModelRunner::WarmUp(int64_t requests, int64_t max_rows) {
  if (requests <= 0) return absl::OkStatus();
  const Signature& signature = executable_.signature();
  Instance& instance = instances_.front();
  // All rows read the same zeros. Each has a place to write to, since threads may share a batch.
  std::vector<std::vector<std::byte>> memory;
  const auto zeros = [&memory](int64_t bytes) {
    return memory.emplace_back(static_cast<size_t>(bytes)).data();
  };
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    std::ranges::fill(instance.input_rows[i], zeros(signature.inputs[i].row_bytes));
  }
  for (size_t i = 0; i < signature.outputs.size(); ++i) {
    for (std::byte*& row : instance.output_rows[i]) row = zeros(signature.outputs[i].row_bytes);
  }
  for (const int64_t rows : {int64_t{1}, max_rows}) {
    // One more than asked for: the first touches memory for the first time and is not typical.
    for (int64_t run = 0; run <= requests; ++run) {
      const MonotonicNanos start = clock_.Now();
      const absl::Status status =
          executable_.Run({rows, instance.inputs, instance.outputs}, *instance.context);
      const MonotonicNanos end = clock_.Now();
      // Zeros may mean nothing to a model; that is no reason to refuse it.
      if (absl::IsInvalidArgument(status)) return absl::OkStatus();
      if (!status.ok()) {
        return absl::Status(
            status.code(), absl::StrCat("warm-up with ", rows, " rows failed: ", status.message()));
      }
      if (run > 0) batcher_.cost_model().Observe(rows, end - start);
    }
    if (max_rows == 1) break;
  }
  return absl::OkStatus();
}

void ModelRunner::Submit(absl::Span<BatchItem* const> tasks, bool may_run_inline) {
  metrics_.in_flight.fetch_add(static_cast<int64_t>(tasks.size()), std::memory_order_relaxed);
  batcher_.Submit(tasks, may_run_inline);
}

void ModelRunner::Assemble(absl::Span<BatchItem* const> items, Instance& instance) const {
  const Signature& signature = executable_.signature();
  size_t row = 0;
  for (const BatchItem* const item : items) {
    const auto& task = static_cast<const InferTask&>(*item);
    const auto task_rows = static_cast<size_t>(task.rows);
    for (size_t i = 0; i < signature.inputs.size(); ++i) {
      const std::byte* data = task.inputs[i];
      for (size_t r = 0; r < task_rows; ++r, data += signature.inputs[i].row_bytes) {
        instance.input_rows[i][row + r] = data;
      }
    }
    for (size_t i = 0; i < signature.outputs.size(); ++i) {
      std::byte* data = task.outputs[i];
      for (size_t r = 0; r < task_rows; ++r, data += signature.outputs[i].row_bytes) {
        instance.output_rows[i][row + r] = data;
      }
    }
    row += task_rows;
  }
}

bool ModelRunner::WorthMeasuring(int64_t rows) {
  if (batcher_.cost_model().PredictNanos(rows) >= kLongRunNanos) return true;
  return short_runs_.fetch_add(1, std::memory_order_relaxed) % kShortRunsEach == 0;
}

absl::Status ModelRunner::Compute(const BatchRows& batch, MonotonicNanos now, Instance& instance) {
  if (log_ == nullptr || !operations_.Due(now)) return executable_.Run(batch, *instance.context);
  std::vector<int64_t> ns = operations_.Buffer();
  OperationTimes times{absl::MakeSpan(ns)};
  absl::Status status = executable_.RunTimed(batch, *instance.context, times);
  if (status.ok() && times.rows > 0) operations_.Add(times);
  return status;
}

int64_t ModelRunner::RunBatch(absl::Span<BatchItem* const> items, int64_t rows, int index) {
  Instance& instance = instances_[static_cast<size_t>(index)];
  // Each stage begins where the one before ended, so that they add up to the total.
  const MonotonicNanos taken = items.front()->taken_ns;
  Assemble(items, instance);
  const bool measure = log_ != nullptr && WorthMeasuring(rows);
  const ThreadUsage before = measure ? ThreadUsageNow() : ThreadUsage{};
  const MonotonicNanos assembled = clock_.Now();
  const absl::Status status =
      Compute({rows, instance.inputs, instance.outputs}, assembled, instance);
  const MonotonicNanos end = clock_.Now();
  const MonotonicNanos compute_ns = end - assembled;
  if (!status.ok() && items.size() > 1) {
    // One request's values may be at fault: the others must not suffer for having been gathered.
    for (BatchItem* const item : items) {
      item->batch_rows = item->rows;
      RunBatch({&item, 1}, item->rows, index);
    }
    return 0;
  }
  metrics_.RecordExecution(rows, compute_ns);
  ExecutionRecord record;
  if (log_ != nullptr) {
    const ThreadUsage used = measure ? ThreadUsageNow() - before : ThreadUsage{};
    record = {.start_ns = assembled,
              .compute_ns = compute_ns,
              .cpu_ns = used.cpu_ns,
              .run_queue_wait_ns = used.run_queue_wait_ns,
              .major_faults = static_cast<int32_t>(std::max<int64_t>(used.major_faults, 0)),
              .minor_faults = static_cast<int32_t>(std::max<int64_t>(used.minor_faults, 0)),
              .blocked = static_cast<int32_t>(std::max<int64_t>(used.blocked, 0)),
              .rows = static_cast<int32_t>(rows),
              .padded_rows = static_cast<int32_t>(executable_.computed_rows(rows)),
              .requests = static_cast<int32_t>(items.size()),
              .instance = index,
              .worker = ThisThreadNumber(),
              .model = metrics_.id(),
              .closed = items.front()->closed,
              .inline_run = items.front()->inline_run};
  }
  for (BatchItem* const item : items) {
    auto& task = static_cast<InferTask&>(*item);
    task.times[Stage::kAssemble] = assembled - taken;
    task.times[Stage::kCompute] = compute_ns;
    task.computed_ns = end;
    Finish(task, status);
  }
  if (log_ != nullptr) {
    record.around_ns = assembled - taken + clock_.Now() - end;
    log_->Add(record);
  }
  return compute_ns;
}

void ModelRunner::Reject(BatchItem& item, const absl::Status& status) {
  Finish(static_cast<InferTask&>(item), status);
}

std::shared_ptr<const void> ModelRunner::KeepAlive(const BatchItem& item) {
  return static_cast<const InferTask&>(item).model;
}

void ModelRunner::Finish(InferTask& task, const absl::Status& status) {
  metrics_.in_flight.fetch_sub(1, std::memory_order_relaxed);
  task.done(task, status);
  gate_.Leave(1);
}

}  // namespace bitmill
