#include "backends/cpu/prepared_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_executable.h"
#include "backends/cpu/plan.h"
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
  BITMILL_ASSIGN_OR_RETURN(Plan plan,
                           BuildPlan(plan_.graph, kernels_, rows, threads, &plan_.constants));
  std::string title = absl::StrCat("model '", plan_.graph.name, "' on cpu (", IsaName(kernels_.isa),
                                   "), batches of up to ", rows, PrecisionTitle(plan_.key));
  return std::make_unique<CpuExecutable>(signature_, std::move(plan), rows, std::move(title),
                                         plan_.precision, helpers_);
}

}  // namespace bitmill
