// A lowered graph with the constants that its steps have packed so far. See PreparedModel.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/cpu/kernel_choices.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/plan_constants.h"
#include "backends/cpu/step_builder.h"
#include "backends/cpu/stored_plan.h"
#include "base/fork_join.h"
#include "model/graph.h"

namespace bitmill {

struct CpuPackedPart final : PackedPart {
  explicit CpuPackedPart(StoredBundle::Part stored) : part(std::move(stored)) {}
  StoredBundle::Part part;
};

class CpuPreparedModel final : public PreparedModel {
 public:
  // `helpers` as for CreateCpuBackend. `precision`: what became of the float layers, for people;
  // empty when nothing did. Of `options`, what concerns plans that are there already.
  CpuPreparedModel(Signature signature, StoredPlan plan, const KernelSet& kernels,
                   const CompileOptions& options, ForkJoin* helpers)
      : signature_(std::move(signature)),
        kernels_(kernels),
        tune_seconds_(options.tune_seconds),
        working_bytes_(options.working_bytes),
        helpers_(helpers),
        plan_(std::move(plan)) {}

  const Signature& signature() const override { return signature_; }
  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override;
  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    return WriteStoredPlan(path, plan_, source);
  }
  std::string tuning() const override { return tuning_; }
  PlanSource source() const override { return plan_.source; }
  void Adopt(const PackedPart& part) override;
  const StoredPlan& plan() const { return plan_; }
  bool grown() const override { return !tuning_.empty() || plan_.constants.grown(); }

 private:
  absl::StatusOr<Plan> Build(int64_t rows, int threads, const KernelChoices& choices);
  // Measures the choices of kernels for batches of up to `rows` rows.
  absl::Status Tune(int64_t rows);

  Signature signature_;
  KernelSet kernels_;
  double tune_seconds_;
  int64_t working_bytes_;
  std::string tuning_;
  ForkJoin* helpers_;
  StoredPlan plan_;
};

}  // namespace bitmill
