#include "backends/device/device_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bitmill {

int64_t DevicePlan::host_steps() const {
  return std::count_if(steps.begin(), steps.end(),
                       [](const DeviceStep& step) { return step.host != nullptr; });
}

std::vector<int32_t> DevicePlan::Params() const {
  std::vector<int32_t> all;
  all.reserve(steps.size() * device::kStepParams + 1);
  for (const DeviceStep& step : steps)
    all.insert(all.end(), step.params.begin(), step.params.end());
  if (all.empty()) all.push_back(0);
  return all;
}

std::string DescribeDevicePlan(const DevicePlan& plan, const std::string& title) {
  std::string text = absl::StrCat(title, "\n");
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const DeviceStep& step = plan.steps[i];
    absl::StrAppendFormat(&text, "%3d  %-24s %-18s %s -> %s  %s", i, step.name, step.kernel,
                          step.input, step.output, step.bits);
    if (!step.tile.empty()) absl::StrAppend(&text, ", ", step.tile);
    if (step.macs > 0) absl::StrAppendFormat(&text, "  %d MACs", step.macs);
    absl::StrAppend(&text, "\n");
  }
  absl::StrAppendFormat(&text, "arena %d bytes, constants %d bytes, %d MACs a row\n",
                        plan.arena_bytes, plan.constant_bytes, plan.row_macs);
  if (plan.host_steps() > 0) {
    absl::StrAppend(&text, plan.host_steps(),
                    " of these steps run on the host, for want of a kernel\n");
  }
  return text;
}

}  // namespace bitmill
