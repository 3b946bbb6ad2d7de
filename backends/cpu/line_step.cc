#include "backends/cpu/line_step.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/conv_blocks.h"
#include "backends/cpu/windowed_step.h"
#include "base/status_macros.h"
#include "kernels/cache_sizes.h"

namespace bitmill {
namespace {

// Lines of all steps of a block stay in the second-level cache beside the weights and shortcuts.
// Larger blocks serve kernels that do something with their weights in each call.
int64_t BlockBytes() { return MachineCaches().l2 / 3; }

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

class GroupState final : public StepState {
 public:
  std::vector<std::unique_ptr<StepState>> states;
};

class FusedStep final : public Step {
 public:
  explicit FusedStep(LineGroup steps) : group(std::move(steps)) {
    const int64_t fitting = std::clamp<int64_t>(
        Shifted(BlockBytes(), group.block_shift()) / group.line_bytes(), 1, group.lines());
    const int64_t blocks = (group.lines() + fitting - 1) / fitting;
    block_lines = RoundUp((group.lines() + blocks - 1) / blocks, group.unit());
    mutable_info() = group.info();
    mutable_info().blocked = !group.single();
    mutable_info().rows_together = group.single() && group.first().info().rows_together;
  }

  absl::Status Run(const StepRun& run) const override {
    Prepare(run);
    return RunParts(run, 0, parts());
  }

  int64_t parts() const override { return RoundUp(group.lines(), group.unit()) / group.unit(); }
  void Prepare(const StepRun& run) const override { group.Prepare(run); }
  std::unique_ptr<StepState> CreateState() const override { return group.CreateState(); }

  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    const int64_t begin = first * group.unit();
    const int64_t end = std::min((first + count) * group.unit(), group.lines());
    if (group.single()) return group.RunLinesOfRows(run, begin, end - begin);
    for (int64_t r = 0; r < run.rows; ++r) {
      for (int64_t y = begin; y < end; y += block_lines) {
        BITMILL_RETURN_IF_ERROR(group.RunLines(run, r, y, std::min(block_lines, end - y)));
      }
    }
    return absl::OkStatus();
  }

  LineGroup group;
  int64_t block_lines = 1;
};

LineStep* AsLineStep(Step& step) {
  auto* const line_step = dynamic_cast<LineStep*>(&step);
  return line_step != nullptr && line_step->access().lines > 0 ? line_step : nullptr;
}

// How many steps from `first` on can be one, at least 1. A step that wants a buffer complete begins
// anew: either a step before it writes that buffer, or it has nothing of theirs to read.
size_t FusableSteps(const std::vector<std::unique_ptr<Step>>& steps, size_t first) {
  const LineStep* const start = AsLineStep(*steps[first]);
  if (start == nullptr) return 1;
  const int64_t lines = start->access().lines;
  int64_t unit = start->access().unit;
  size_t count = 1;
  for (; first + count < steps.size(); ++count) {
    const LineStep* const next = AsLineStep(*steps[first + count]);
    if (next == nullptr || next->access().lines != lines || next->access().whole >= 0) break;
    const LineAccess access = next->access();
    if (access.unit > 1 && unit > 1 && access.unit != unit) break;
    unit = std::max(unit, access.unit);
  }
  return count;
}

// Whether `next`, the step of that number, reads windows of what `last` writes, and alone; the
// steps from `first` to `last` read nothing that was in that memory before.
bool FollowsByWindows(int32_t first, const LineStep& last, Step& next, int32_t number,
                      const FusionPlan& plan) {
  const LineStep* const reader = AsLineStep(next);
  if (reader == nullptr || reader->access().unit != 1) return false;
  const LineWindow window = reader->access().window;
  const int32_t map = last.access().writes;
  return window.stride > 0 && window.reach >= window.stride && reader->access().whole == map &&
         plan.first_use(map) >= first && plan.last_use(map) == number;
}

}  // namespace

absl::Status LineStep::Run(const StepRun& run) const {
  Prepare(run);
  return RunParts(run, 0, parts());
}

absl::Status LineStep::RunParts(const StepRun& run, int64_t first, int64_t count) const {
  return RunLinesOfRows(run, first, count);
}

absl::Status LineStep::RunLinesOfRows(const StepRun& run, int64_t first, int64_t count) const {
  for (int64_t r = 0; r < run.rows; ++r) {
    BITMILL_RETURN_IF_ERROR(RunLines(run, r, first, count));
  }
  return absl::OkStatus();
}

LineGroup::LineGroup(std::vector<std::unique_ptr<Step>> steps,
                     absl::FunctionRef<bool(int32_t buffer, size_t i)> last_reader)
    : owned_(std::move(steps)) {
  std::vector<int32_t> written;
  for (size_t i = 0; i < owned_.size(); ++i) {
    steps_.push_back(AsLineStep(*owned_[i]));
    const LineAccess access = steps_.back()->access();
    if (i == 0 || !steps_[running_.back()]->Absorb(
                      *steps_[i], last_reader(steps_[i - 1]->access().writes, i))) {
      running_.push_back(i);
    }
    lines_ = access.lines;
    if (std::find(written.begin(), written.end(), access.writes) == written.end()) {
      written.push_back(access.writes);
      line_bytes_ += access.line_bytes;
    }
    unit_ = std::max(unit_, access.unit);
    if (steps_.back()->block_shift() != 0) block_shift_ = steps_.back()->block_shift();
  }
}

StepInfo LineGroup::info() const {
  StepInfo info = owned_[0]->info();
  for (size_t i = 1; i < owned_.size(); ++i) AppendInfo(owned_[i]->info(), info);
  return info;
}

std::unique_ptr<StepState> LineGroup::CreateState() const {
  auto state = std::make_unique<GroupState>();
  for (const LineStep* step : steps_) state->states.push_back(step->CreateState());
  return state;
}

void LineGroup::Prepare(const StepRun& run) const {
  for (const LineStep* step : steps_) step->Prepare(run);
}

absl::Status LineGroup::RunLines(const StepRun& run, int64_t r, int64_t first,
                                 int64_t count) const {
  const auto& states = static_cast<const GroupState&>(*run.state).states;
  StepRun own = run;
  for (const size_t i : running_) {
    own.state = states[i].get();
    BITMILL_RETURN_IF_ERROR(steps_[i]->RunLines(own, r, first, count));
  }
  return absl::OkStatus();
}

absl::Status LineGroup::RunLinesOfRows(const StepRun& run, int64_t first, int64_t count) const {
  const size_t only = running_.front();
  StepRun own = run;
  own.state = static_cast<const GroupState&>(*run.state).states[only].get();
  return steps_[only]->RunLinesOfRows(own, first, count);
}

void AppendInfo(const StepInfo& more, StepInfo& info) {
  absl::StrAppend(&info.kernel, " + ", more.kernel);
  info.output = more.output;
  info.bits = absl::StrCat(info.bits.substr(0, info.bits.find(" -> ")),
                           more.bits.substr(std::min(more.bits.find(" -> "), more.bits.size())));
  info.macs += more.macs;
  info.weight_bytes += more.weight_bytes;
  info.output_bytes = more.output_bytes;
  info.value_bytes += more.value_bytes;
  info.nodes.insert(info.nodes.end(), more.nodes.begin(), more.nodes.end());
}

void FuseLineSteps(std::vector<std::unique_ptr<Step>>& steps, const FusionPlan& plan) {
  std::vector<std::unique_ptr<Step>> fused;
  const auto take = [&](size_t first, size_t count) {
    std::vector<std::unique_ptr<Step>> taken;
    taken.reserve(count);
    for (size_t i = 0; i < count; ++i) taken.push_back(std::move(steps[first + i]));
    return LineGroup(std::move(taken), [&](int32_t buffer, size_t i) {
      return plan.last_use(buffer) == static_cast<int32_t>(first + i);
    });
  };
  for (size_t first = 0; first < steps.size();) {
    size_t count = FusableSteps(steps, first);
    const size_t next = first + count;
    const LineStep* const last = AsLineStep(*steps[next - 1]);
    if (last != nullptr && next < steps.size() &&
        FollowsByWindows(static_cast<int32_t>(first), *last, *steps[next],
                         static_cast<int32_t>(next), plan)) {
      const size_t more = FusableSteps(steps, next);
      LineGroup front = take(first, count);
      count += more;
      const auto begin = static_cast<int32_t>(first), end = static_cast<int32_t>(next + more - 1);
      fused.push_back(MakeWindowedStep(std::move(front), take(next, more), [&](int64_t row_bytes) {
        return plan.add_buffer(row_bytes, begin, end);
      }));
    } else if (count == 1) {
      fused.push_back(std::move(steps[first]));
    } else {
      fused.push_back(std::make_unique<FusedStep>(take(first, count)));
    }
    if (count > 1)
      plan.joined(static_cast<int32_t>(first), static_cast<int32_t>(first + count - 1));
    first += count;
  }
  steps = std::move(fused);
}

}  // namespace bitmill
