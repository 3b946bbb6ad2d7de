#include "server/frontend/model_statistics.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "proto/inference.pb.h"

namespace bitmill {
namespace {

void Set(inference::StatisticDuration& duration, int64_t count, int64_t ns) {
  duration.set_count(static_cast<uint64_t>(count));
  duration.set_ns(static_cast<uint64_t>(ns));
}

}  // namespace

void FillStatistics(const ModelDescription& model, const ModelStatisticsSnapshot& counts,
                    inference::ModelStatistics& statistics) {
  statistics.set_name(model.name);
  statistics.set_version(absl::StrCat(model.version));
  statistics.set_last_inference(static_cast<uint64_t>(counts.last_inference_unix_ms));
  statistics.set_inference_count(static_cast<uint64_t>(counts.rows));
  statistics.set_execution_count(static_cast<uint64_t>(counts.executions));

  const StageTimes& ns = counts.stage_ns;
  const int64_t ok = counts.requests_ok;
  inference::InferStatistics& requests = *statistics.mutable_inference_stats();
  Set(*requests.mutable_success(), ok, counts.success_ns);
  Set(*requests.mutable_fail(), counts.requests_failed, counts.fail_ns);
  Set(*requests.mutable_queue(), ok, ns[Stage::kQueue] + ns[Stage::kSchedule]);
  Set(*requests.mutable_compute_input(), ok, ns[Stage::kDecode] + ns[Stage::kAssemble]);
  Set(*requests.mutable_compute_infer(), ok, ns[Stage::kCompute]);
  Set(*requests.mutable_compute_output(), ok, ns[Stage::kSplit] + ns[Stage::kEncode]);
  Set(*requests.mutable_cache_hit(), 0, 0);
  Set(*requests.mutable_cache_miss(), 0, 0);

  for (const ModelStatisticsSnapshot::BatchCount& batch : counts.batches) {
    inference::InferBatchStatistics& entry = *statistics.add_batch_stats();
    entry.set_batch_size(static_cast<uint64_t>(batch.rows));
    Set(*entry.mutable_compute_input(), batch.executions, 0);
    Set(*entry.mutable_compute_infer(), batch.executions, batch.compute_ns);
    Set(*entry.mutable_compute_output(), batch.executions, 0);
  }
  inference::MemoryUsage& memory = *statistics.add_memory_usage();
  memory.set_type("CPU");
  memory.set_byte_size(static_cast<uint64_t>(model.weight_bytes));
}

}  // namespace bitmill
