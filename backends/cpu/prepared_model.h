// A lowered graph with the constants that its steps have packed so far. See PreparedModel.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/cpu/plan_constants.h"
#include "backends/cpu/step_builder.h"
#include "backends/cpu/stored_plan.h"
#include "base/fork_join.h"
#include "model/graph.h"

namespace bitmill {

class CpuPreparedModel final : public PreparedModel {
 public:
  // `helpers` as for CreateCpuBackend. `precision`: what became of the float layers, for people;
  // empty when nothing did.
  CpuPreparedModel(Signature signature, Graph lowered, const KernelSet& kernels,
                   std::string precision, PlanKey key, ForkJoin* helpers)
      : signature_(std::move(signature)),
        kernels_(kernels),
        helpers_(helpers),
        plan_{std::move(key), {}, std::move(lowered), std::move(precision), {}} {}
  CpuPreparedModel(Signature signature, StoredPlan stored, const KernelSet& kernels,
                   ForkJoin* helpers)
      : signature_(std::move(signature)),
        kernels_(kernels),
        helpers_(helpers),
        plan_(std::move(stored)) {}

  const Signature& signature() const override { return signature_; }
  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override;
  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    return WriteStoredPlan(path, plan_, source);
  }
  PlanSource source() const override { return plan_.source; }
  bool grown() const override { return plan_.constants.grown(); }

 private:
  Signature signature_;
  KernelSet kernels_;
  ForkJoin* helpers_;
  StoredPlan plan_;
};

}  // namespace bitmill
