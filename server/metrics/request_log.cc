#include "server/metrics/request_log.h"

#include "server/metrics/cpu_stripes.h"

namespace bitmill {

RequestLog::RequestLog(size_t records_per_cpu) {
  const size_t count = CpuStripes();
  for (size_t i = 0; i < count; ++i) shards_.push_back(std::make_unique<Shard>(records_per_cpu));
}

RequestLog::Shard& RequestLog::MyShard() { return *shards_[MyCpuStripe(shards_.size())]; }

void RequestLog::Add(const RequestRecord& record) { MyShard().requests.Add(record); }
void RequestLog::Add(const ExecutionRecord& record) { MyShard().executions.Add(record); }
void RequestLog::Add(const TurnRecord& record) { MyShard().turns.Add(record); }

void RequestLog::Drain(absl::FunctionRef<void(const RequestRecord&)> request,
                       absl::FunctionRef<void(const ExecutionRecord&)> execution,
                       absl::FunctionRef<void(const TurnRecord&)> turn) {
  for (const std::unique_ptr<Shard>& shard : shards_) {
    shard->executions.Drain(execution);
    shard->requests.Drain(request);
    shard->turns.Drain(turn);
  }
}

int64_t RequestLog::dropped() const {
  int64_t sum = dropped_requests() + dropped_executions();
  for (const std::unique_ptr<Shard>& shard : shards_) sum += shard->turns.dropped();
  return sum;
}

int64_t RequestLog::dropped_requests() const {
  int64_t sum = 0;
  for (const std::unique_ptr<Shard>& shard : shards_) sum += shard->requests.dropped();
  return sum;
}

int64_t RequestLog::dropped_executions() const {
  int64_t sum = 0;
  for (const std::unique_ptr<Shard>& shard : shards_) sum += shard->executions.dropped();
  return sum;
}

}  // namespace bitmill
