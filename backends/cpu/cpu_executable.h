// A plan that runs. See Executable for the contract.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/cpu/plan.h"

namespace bitmill {

class CpuContext final : public ExecutionContext {
 public:
  explicit CpuContext(const Plan& plan);

  std::byte* const* buffers() const { return buffers_.data(); }
  StepState* state(size_t step) const { return states_[step].get(); }

 private:
  AlignedBuffer arena_;
  std::vector<std::byte*> buffers_;
  std::vector<std::unique_ptr<StepState>> states_;
};

class CpuExecutable final : public Executable {
 public:
  // `precision`: what became of the float layers, for people; empty when nothing did.
  CpuExecutable(Signature signature, Plan plan, int64_t max_rows, std::string title,
                std::string precision = "")
      : signature_(std::move(signature)),
        plan_(std::move(plan)),
        max_rows_(max_rows),
        title_(std::move(title)),
        precision_(std::move(precision)) {}

  const Signature& signature() const override { return signature_; }
  int64_t max_rows() const override { return max_rows_; }
  int64_t weight_bytes() const override { return plan_.weight_bytes; }
  int64_t arena_bytes() const override { return plan_.arena_bytes; }
  int64_t row_macs() const override { return plan_.row_macs; }
  std::unique_ptr<ExecutionContext> CreateContext() const override {
    return std::make_unique<CpuContext>(plan_);
  }
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override;
  std::string DescribePlan() const override {
    return DescribePlanText(plan_, title_) + (precision_.empty() ? "" : "\n" + precision_);
  }

  const Plan& plan() const { return plan_; }
  const std::string& precision() const { return precision_; }

 private:
  Signature signature_;
  Plan plan_;
  int64_t max_rows_ = 1;
  std::string title_, precision_;
};

}  // namespace bitmill
