#include "server/engine/operation_sampler.h"

namespace bitmill {

bool OperationSampler::Due(MonotonicNanos now) {
  MonotonicNanos next = next_.load(std::memory_order_relaxed);
  if (now < next || operations_ == 0) return false;
  return next_.compare_exchange_strong(next, now + kPeriodNanos, std::memory_order_relaxed);
}

void OperationSampler::Add(const OperationTimes& times) {
  MutexLock lock(&mutex_);
  totals_.ns.resize(operations_);
  for (size_t i = 0; i < operations_; ++i) totals_.ns[i] += times.ns[i];
  totals_.rows += times.rows;
  ++totals_.executions;
}

OperationTotals OperationSampler::totals() const {
  MutexLock lock(&mutex_);
  return totals_;
}

}  // namespace bitmill
