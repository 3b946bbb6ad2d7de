// A model on a device, with another executable of the same model that takes over when the device
// fails: the batch that met the failure is computed again, and nothing is lost.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/backend.h"

namespace bitmill {

class FallbackExecutable final : public Executable {
 public:
  // Both have the same signature; `fallback` takes as many rows. `name`: of the model, for the log.
  FallbackExecutable(std::unique_ptr<Executable> device, std::unique_ptr<Executable> fallback,
                     std::string name);

  const Signature& signature() const override { return device_->signature(); }
  std::string backend_name() const override {
    return device_failed() ? fallback_->backend_name() : device_->backend_name();
  }
  int64_t max_rows() const override { return device_->max_rows(); }
  int64_t weight_bytes() const override {
    return device_->weight_bytes() + fallback_->weight_bytes();
  }
  int64_t arena_bytes() const override { return device_->arena_bytes() + fallback_->arena_bytes(); }
  std::vector<MemoryUse> memory(int64_t contexts) const override {
    std::vector<MemoryUse> sum = device_->memory(contexts);
    AddMemory(fallback_->memory(contexts), sum);
    return sum;
  }
  int64_t computed_rows(int64_t rows) const override {
    return (device_failed() ? fallback_ : device_)->computed_rows(rows);
  }
  int64_t row_macs() const override { return device_->row_macs(); }
  std::unique_ptr<ExecutionContext> CreateContext() const override;
  // After the first error of the device that is not InvalidArgument all batches, this one included,
  // run on the fallback; the log says so once.
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override;
  // Times are the device's; the fallback fills in none.
  absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                        OperationTimes& times) const override;
  std::vector<Operation> operations() const override { return device_->operations(); }
  std::string DescribePlan() const override;

  bool device_failed() const { return failed_.load(std::memory_order_relaxed); }

 private:
  absl::Status RunBoth(const BatchRows& batch, ExecutionContext& context,
                       OperationTimes* times) const;

  const std::unique_ptr<Executable> device_, fallback_;
  const std::string name_;
  mutable std::atomic<bool> failed_ = false;
};

}  // namespace bitmill
