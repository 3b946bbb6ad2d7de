#include "backends/device/device_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bitmill {

bool DeviceStep::few(int64_t rows) const {
  const int64_t pixels = int64_t{params[device::kOutHeight]} * params[device::kOutWidth];
  return !few_kernel.empty() && rows * pixels <= few_tiles.pixels;
}

std::array<int64_t, 2> DeviceStep::groups_of(int64_t rows) const {
  const auto count = [](int64_t all, int64_t each) { return (all + each - 1) / each; };
  const DeviceTiles& launched = tiles_of(rows);
  const int64_t pixels = int64_t{params[device::kOutHeight]} * params[device::kOutWidth];
  // Few rows: a group an octet, up to the last that a pixel has room for.
  const int64_t outputs = few(rows) ? int64_t{params[device::kOutOctets]} * device::kOctet
                                    : params[device::kOutChannels];
  return {count(rows * pixels, launched.pixels), count(outputs, launched.outputs)};
}

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
    if (!step.few_kernel.empty()) {
      absl::StrAppendFormat(&text, "  (up to %d rows: %s)", step.few_tiles.pixels, step.few_kernel);
    }
    absl::StrAppend(&text, "\n");
  }
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    const InputBits* const bits = plan.inputs[i].bits.get();
    if (bits == nullptr) continue;
    absl::StrAppendFormat(&text,
                          "the host makes bits of input %d: %d bytes a row are copied, not %d\n", i,
                          bits->pixels * bits->pixel_bytes, bits->channels * bits->pixels * 4);
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
