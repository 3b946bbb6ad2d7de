#include "backends/cpu/profile.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_executable.h"
#include "backends/cpu/step_cost.h"
#include "backends/cpu/step_timer.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int kWarmUps = 3;

}  // namespace

absl::StatusOr<std::vector<StepCost>> ProfileSteps(const Executable& executable, int64_t rows,
                                                   int repetitions) {
  const auto* const own = dynamic_cast<const CpuExecutable*>(&executable);
  if (own == nullptr) return absl::InvalidArgumentError("not a model of the CPU backend");
  if (rows < 1 || rows > own->max_rows() || repetitions < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        rows, " rows, ", repetitions, " repetitions; rows are 1 to ", own->max_rows()));
  }
  const Plan& plan = own->plan();
  StepTimer timer(own->signature(), plan, rows);
  std::vector<std::vector<double>> samples(plan.steps.size());
  std::vector<double> micros;
  for (int repetition = -kWarmUps; repetition < repetitions; ++repetition) {
    BITMILL_RETURN_IF_ERROR(timer.Run(micros));
    if (repetition < 0) continue;
    for (size_t i = 0; i < micros.size(); ++i) samples[i].push_back(micros[i]);
  }

  std::vector<StepCost> costs;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const StepInfo& info = plan.steps[i]->info();
    auto middle = samples[i].begin() + static_cast<int64_t>(samples[i].size() / 2);
    std::nth_element(samples[i].begin(), middle, samples[i].end());
    costs.push_back({info.name, info.kernel, *middle, plan.step_micros[i], info.macs,
                     info.weight_bytes + info.output_bytes, CeilingOf(info)});
  }
  return costs;
}

}  // namespace bitmill
