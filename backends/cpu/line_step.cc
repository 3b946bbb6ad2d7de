#include "backends/cpu/line_step.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cache_sizes.h"

namespace bitmill {
namespace {

// Lines of all steps of a block stay in the second-level cache beside the weights.
int64_t BlockBytes() { return MachineCaches().l2 / 5; }

class FusedStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    Prepare(run);
    return RunParts(run, 0, lines);
  }

  int64_t parts() const override { return lines; }

  void Prepare(const StepRun& run) const override {
    for (const LineStep* step : steps) step->Prepare(run);
  }

  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    for (int64_t r = 0; r < run.rows; ++r) {
      for (int64_t y = first; y < first + count; y += block_lines) {
        const int64_t block = std::min(block_lines, first + count - y);
        for (const LineStep* step : steps) step->RunLines(run, r, y, block);
      }
    }
    return absl::OkStatus();
  }

  std::vector<std::unique_ptr<Step>> owned;
  std::vector<const LineStep*> steps;
  int64_t lines = 0, block_lines = 1;
};

const LineStep* AsLineStep(const Step& step) {
  const auto* const line_step = dynamic_cast<const LineStep*>(&step);
  return line_step != nullptr && line_step->access().lines > 0 ? line_step : nullptr;
}

}  // namespace

absl::Status LineStep::Run(const StepRun& run) const {
  Prepare(run);
  return RunParts(run, 0, access().lines);
}

absl::Status LineStep::RunParts(const StepRun& run, int64_t first, int64_t count) const {
  for (int64_t r = 0; r < run.rows; ++r) RunLines(run, r, first, count);
  return absl::OkStatus();
}

size_t FusableSteps(const std::vector<std::unique_ptr<Step>>& steps, size_t first) {
  const LineStep* const start = AsLineStep(*steps[first]);
  if (start == nullptr) return 1;
  const int64_t lines = start->access().lines;
  std::vector<int32_t> written = {start->access().writes};
  size_t count = 1;
  for (; first + count < steps.size(); ++count) {
    const LineStep* const next = AsLineStep(*steps[first + count]);
    if (next == nullptr || next->access().lines != lines) break;
    const LineAccess access = next->access();
    if (std::find(written.begin(), written.end(), access.whole) != written.end()) break;
    written.push_back(access.writes);
  }
  return count;
}

std::unique_ptr<Step> MakeFusedStep(std::vector<std::unique_ptr<Step>> steps) {
  auto fused = std::make_unique<FusedStep>();
  StepInfo& info = fused->mutable_info();
  info = steps[0]->info();
  int64_t line_bytes = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    const LineStep* const step = AsLineStep(*steps[i]);
    fused->steps.push_back(step);
    fused->lines = step->access().lines;
    line_bytes += step->access().line_bytes;
    if (i == 0) continue;
    const StepInfo& more = step->info();
    absl::StrAppend(&info.kernel, " + ", more.kernel);
    info.output = more.output;
    info.bits = absl::StrCat(info.bits.substr(0, info.bits.find(" -> ")),
                             more.bits.substr(std::min(more.bits.find(" -> "), more.bits.size())));
    info.macs += more.macs;
    info.weight_bytes += more.weight_bytes;
    info.output_bytes = more.output_bytes;
  }
  fused->block_lines = std::clamp<int64_t>(BlockBytes() / line_bytes, 1, fused->lines);
  fused->owned = std::move(steps);
  return fused;
}

}  // namespace bitmill
