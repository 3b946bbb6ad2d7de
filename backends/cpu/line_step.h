// Steps that can work on some lines of an image, and their fusion.
//
// A convolution whose float map is then added to a shortcut, run through a chain and packed to bits
// would read and write that map once a step, out of the second-level cache or beyond. Instead such
// steps take turns over blocks of lines: what one step wrote is still in the cache when the next
// one reads it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "backends/cpu/step.h"

namespace bitmill {

// Everything a line step reads of the same image lines as it writes, except `whole` buffers.
struct LineAccess {
  int64_t lines = 0;       // of the output; 0: this step cannot work by lines
  int64_t line_bytes = 0;  // of the output
  int32_t whole = -1;      // a buffer that must be complete before the first line; -1: none
  int32_t writes = -1;     // the buffer written
};

class LineStep : public Step {
 public:
  virtual LineAccess access() const = 0;
  // Lines first .. first + count - 1 of row r of the chunk, after Prepare(). Only for steps with
  // lines.
  virtual void RunLines(const StepRun& run, int64_t r, int64_t first, int64_t count) const = 0;

  // All lines of all rows.
  absl::Status Run(const StepRun& run) const override;
  int64_t parts() const override { return access().lines; }
  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override;
};

// One step in place of `steps`, at least two.
std::unique_ptr<Step> MakeFusedStep(std::vector<std::unique_ptr<Step>> steps);

// How many steps from `first` on can be one: at least 1.
size_t FusableSteps(const std::vector<std::unique_ptr<Step>>& steps, size_t first);

// Joins each run of neighbouring line steps of one height, none of which needs a buffer complete
// that another of them writes. `joined(first, last)` is told the numbers of the steps that became
// one, so that what any of them uses can be kept alive for all of them.
template <typename Joined>
void FuseLineSteps(std::vector<std::unique_ptr<Step>>& steps, Joined joined) {
  std::vector<std::unique_ptr<Step>> fused;
  for (size_t first = 0; first < steps.size();) {
    const size_t count = FusableSteps(steps, first);
    if (count == 1) {
      fused.push_back(std::move(steps[first]));
    } else {
      std::vector<std::unique_ptr<Step>> group;
      for (size_t i = 0; i < count; ++i) group.push_back(std::move(steps[first + i]));
      fused.push_back(MakeFusedStep(std::move(group)));
      joined(static_cast<int32_t>(first), static_cast<int32_t>(first + count - 1));
    }
    first += count;
  }
  steps = std::move(fused);
}

}  // namespace bitmill
