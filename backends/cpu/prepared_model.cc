#include "backends/cpu/prepared_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/cpu/cpu_executable.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/plan_memory.h"
#include "backends/cpu/step_timer.h"
#include "backends/cpu/tune.h"
#include "base/clock.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// ", precision fast": of a plan that is not exact.
std::string PrecisionTitle(const PlanKey& key) {
  for (const auto& [name, value] : key) {
    if (name == "precision" && value != PrecisionName(Precision::kExact)) {
      return absl::StrCat(", precision ", value);
    }
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Executable>> CpuPreparedModel::MakeExecutable(
    const ExecutionLimits& limits) {
  if (limits.max_rows < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_rows is ", limits.max_rows, "; it must be at least 1"));
  }
  if (limits.threads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads is ", limits.threads, "; it must be at least 0"));
  }
  const int64_t rows = signature_.batchable ? limits.max_rows : 1;
  const int width = helpers_ == nullptr ? 1 : helpers_->width();
  const int threads = limits.threads == 0 ? width : std::min(limits.threads, width);
  const bool tunes = tune_seconds_ > 0.0 && !plan_.choices.measured();
  if (tunes) BITMILL_RETURN_IF_ERROR(Tune(rows));
  BITMILL_ASSIGN_OR_RETURN(Plan plan, Build(rows, threads, plan_.choices));
  if (tunes) plan_.constants.DropUnused();
  std::string title = absl::StrCat("model '", plan_.graph.name, "' on cpu (", IsaName(kernels_.isa),
                                   "), batches of up to ", rows, PrecisionTitle(plan_.key));
  return std::make_unique<CpuExecutable>(signature_, std::move(plan), rows, std::move(title),
                                         plan_.precision, helpers_);
}

absl::StatusOr<Plan> CpuPreparedModel::Build(int64_t rows, int threads,
                                             const KernelChoices& choices) {
  BITMILL_ASSIGN_OR_RETURN(
      Plan plan, BuildPlan(plan_.graph, kernels_, rows, threads, &plan_.constants, &choices));
  BITMILL_RETURN_IF_ERROR(CheckFits(plan, working_bytes_));
  return plan;
}

void CpuPreparedModel::Adopt(const PackedPart& part) {
  const auto& packed = static_cast<const CpuPackedPart&>(part);
  plan_.constants = packed.part.constants;
  plan_.choices = packed.part.choices;
}

absl::Status CpuPreparedModel::Tune(int64_t rows) {
  const SystemClock clock;
  TuneParts parts{{}, {}, clock};
  parts.build = [&](const KernelChoices& choices) { return Build(rows, 1, choices); };
  parts.timer = [&](const Plan& plan, int64_t batch_rows) {
    auto timer = std::make_shared<StepTimer>(signature_, plan, batch_rows);
    return [timer](std::vector<double>& micros) { return timer->Run(micros); };
  };
  BITMILL_ASSIGN_OR_RETURN(plan_.choices, TuneKernels(parts, rows, tune_seconds_));
  plan_.constants.BeginUse();
  double before = 0.0, after = 0.0;
  for (const MeasuredStep& step : plan_.choices.steps) {
    before += step.micros * step.gain;
    after += step.micros;
  }
  const size_t layers = plan_.choices.layers.size();
  tuning_ = absl::StrFormat("%d %s tuned, %.2f times as fast", layers,
                            layers == 1 ? "layer" : "layers", before / after);
  return absl::OkStatus();
}

}  // namespace bitmill
