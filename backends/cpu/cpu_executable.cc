#include "backends/cpu/cpu_executable.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/shared_run.h"
#include "backends/cpu/step_cost.h"

namespace bitmill {
namespace {

// Of helpers that take rows of their own.
int SpareCount(const Plan& plan, int64_t max_rows, const ForkJoin* team) {
  if (team == nullptr || max_rows < plan.threads || !WorthSharing(plan, max_rows)) return 0;
  return team->width() - 1;
}

}  // namespace

CpuExecutable::CpuExecutable(Signature signature, Plan plan, int64_t max_rows, std::string title,
                             std::string precision, ForkJoin* team)
    : signature_(std::move(signature)),
      plan_(std::move(plan)),
      max_rows_(max_rows),
      title_(std::move(title)),
      precision_(std::move(precision)),
      team_(team),
      spares_(plan_, SpareCount(plan_, max_rows, team)) {}

std::vector<Operation> CpuExecutable::operations() const {
  std::vector<Operation> operations;
  for (const StepPtr& step : plan_.steps) {
    const StepInfo& info = step->info();
    operations.push_back({.name = info.name,
                          .kernel = info.kernel,
                          .ceiling = info.macs > 0 ? CeilingKey(CeilingOf(info)) : "",
                          .row_macs = info.macs,
                          .row_bytes = info.output_bytes,
                          .weight_bytes = info.weight_bytes});
  }
  return operations;
}

absl::Status CpuExecutable::RunPlan(const BatchRows& batch, ExecutionContext& context,
                                    OperationTimes* times) const {
  if (batch.rows < 1 || batch.rows > max_rows_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a batch of ", batch.rows, " rows; 1 to ", max_rows_, " are possible"));
  }
  if (batch.inputs.size() != signature_.inputs.size() ||
      batch.outputs.size() != signature_.outputs.size()) {
    return absl::InternalError(absl::StrCat(
        "a batch of ", batch.inputs.size(), " inputs and ", batch.outputs.size(),
        " outputs; the model has ", signature_.inputs.size(), " and ", signature_.outputs.size()));
  }
  Workspace& own = static_cast<CpuContext&>(context).workspace();
  if (team_ == nullptr || !WorthSharing(plan_, batch.rows)) {
    return RunAlone(plan_, batch, own, times);
  }
  return RunShared(plan_, batch, own, spares_, *team_, times);
}

}  // namespace bitmill
