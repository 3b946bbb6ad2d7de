// A plan that runs. See Executable for the contract.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/workspace.h"
#include "base/fork_join.h"

namespace bitmill {

class CpuContext final : public ExecutionContext {
 public:
  explicit CpuContext(const Plan& plan) : workspace_(plan) {}

  Workspace& workspace() { return workspace_; }

 private:
  Workspace workspace_;
};

class CpuExecutable final : public Executable {
 public:
  // `precision`: what became of the float layers, for people; empty when nothing did. `team`: where
  // a plan for several threads finds helpers; outlives this. Null: nowhere.
  CpuExecutable(Signature signature, Plan plan, int64_t max_rows, std::string title,
                std::string precision = "", ForkJoin* team = nullptr);

  const Signature& signature() const override { return signature_; }
  int64_t max_rows() const override { return max_rows_; }
  int64_t weight_bytes() const override { return plan_.weight_bytes; }
  int64_t arena_bytes() const override { return plan_.arena_bytes; }
  int64_t row_macs() const override { return plan_.row_macs; }
  std::unique_ptr<ExecutionContext> CreateContext() const override {
    return std::make_unique<CpuContext>(plan_);
  }
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override {
    return RunPlan(batch, context, nullptr);
  }
  absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                        OperationTimes& times) const override {
    return RunPlan(batch, context, &times);
  }
  std::vector<Operation> operations() const override;
  std::string DescribePlan() const override {
    return DescribePlanText(plan_, title_) + (precision_.empty() ? "" : "\n" + precision_);
  }

  const Plan& plan() const { return plan_; }
  const std::string& precision() const { return precision_; }

 private:
  absl::Status RunPlan(const BatchRows& batch, ExecutionContext& context,
                       OperationTimes* times) const;

  Signature signature_;
  Plan plan_;
  int64_t max_rows_ = 1;
  std::string title_, precision_;
  ForkJoin* team_ = nullptr;
  // Memory of the helpers, whichever context they help. They are fewer than the team is wide.
  mutable SpareWorkspaces spares_;
};

}  // namespace bitmill
