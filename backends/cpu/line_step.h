// Steps that can work on some lines of an image, and their fusion.
//
// A convolution whose float map is then added to a shortcut, run through a chain and packed to bits
// would read and write that map once a step, out of the second-level cache or beyond. Instead such
// steps take turns over blocks of lines: what one step wrote is still in the cache when the next
// one reads it. Where the next one reads windows of lines (a pool behind a first layer) and nobody
// else reads the map, the map never exists as a whole (windowed_step.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "backends/cpu/compiled_chain.h"
#include "backends/cpu/step.h"

namespace bitmill {

// Line y of the output reads lines y * stride - before and reach - 1 more, as far as they exist.
struct LineWindow {
  int64_t stride = 0;  // 0: it reads the whole image, or not the lines of one
  int64_t before = 0, reach = 0;
};

// Everything a line step reads of the same image lines as it writes, except `whole` buffers.
struct LineAccess {
  int64_t lines = 0;       // of the output; 0: this step cannot work by lines
  int64_t line_bytes = 0;  // of the output
  int32_t whole = -1;      // a buffer that must be complete before the first line; -1: none
  int32_t writes = -1;     // the buffer written
  int64_t unit = 1;        // lines come in blocks of so many, from a multiple of it on
  LineWindow window = {};  // what of `whole` is needed for a line
};

// What a step does with each element of a float map by itself; views of the step.
struct SumWork {
  const Operand* a = nullptr;
  const Operand* b = nullptr;
  const Operand* output = nullptr;
};
struct ChainWork {
  const Operand* input = nullptr;
  const Operand* output = nullptr;
  const CompiledChain* chain = nullptr;
};
struct SignWork {
  const Operand* input = nullptr;
  const Operand* output = nullptr;
  absl::Span<const float> thresholds;  // [1] or [channels]
  absl::Span<const uint8_t> inverted;  // empty, [1] or [channels]
};
using ElementWork = std::variant<std::monostate, SumWork, ChainWork, SignWork>;

class LineStep : public Step {
 public:
  virtual LineAccess access() const = 0;
  virtual ElementWork element_work() const { return {}; }
  // Whether this step will do the work of `next`, the step behind it, too, in RunLines(); it keeps
  // a pointer to it. `last`: nobody but `next` reads what this step and those that it has taken
  // leave so far.
  virtual bool Absorb(const LineStep& /*next*/, bool /*last*/) { return false; }
  // LayerChoice::block_shift of its layer, for the blocks of a fused step.
  virtual int32_t block_shift() const { return 0; }
  // Lines first .. first + count - 1 of row r of the chunk, after Prepare(). Only for steps with
  // lines.
  virtual absl::Status RunLines(const StepRun& run, int64_t r, int64_t first,
                                int64_t count) const = 0;
  // These lines of all rows of the chunk.
  virtual absl::Status RunLinesOfRows(const StepRun& run, int64_t first, int64_t count) const;

  // All lines of all rows.
  absl::Status Run(const StepRun& run) const override;
  int64_t parts() const override { return access().lines; }
  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override;
};

// Steps of one height that take turns over blocks of lines.
class LineGroup {
 public:
  // At least one step, each with lines. `last_reader(buffer, i)`: step i is the last to use it.
  LineGroup(std::vector<std::unique_ptr<Step>> steps,
            absl::FunctionRef<bool(int32_t buffer, size_t i)> last_reader);

  int64_t lines() const { return lines_; }
  int64_t line_bytes() const { return line_bytes_; }    // of all buffers written
  bool single() const { return running_.size() == 1; }  // one step does all the work
  int64_t unit() const { return unit_; }
  int32_t block_shift() const { return block_shift_; }  // of a layer in it; 0: none
  const LineStep& first() const { return *steps_.front(); }
  const LineStep& last() const { return *steps_.back(); }

  // What the group is, for people.
  StepInfo info() const;
  std::unique_ptr<StepState> CreateState() const;
  void Prepare(const StepRun& run) const;
  // In every step; run.state is what CreateState() returned.
  absl::Status RunLines(const StepRun& run, int64_t r, int64_t first, int64_t count) const;
  // Of all rows of the chunk; for a group that is single().
  absl::Status RunLinesOfRows(const StepRun& run, int64_t first, int64_t count) const;

 private:
  std::vector<std::unique_ptr<Step>> owned_;
  std::vector<LineStep*> steps_;
  std::vector<size_t> running_;  // those whose work no other one does
  int64_t lines_ = 0, line_bytes_ = 0, unit_ = 1;
  int32_t block_shift_ = 0;
};

// `info` of a step that does what `more` says as well, afterwards.
void AppendInfo(const StepInfo& more, StepInfo& info);

// What fusion needs to know of the plan.
struct FusionPlan {
  // The numbers of the first and the last step that use a buffer.
  std::function<int32_t(int32_t buffer)> first_use, last_use;
  // Steps first .. last became one: what any of them uses is kept alive for all of them.
  std::function<void(int32_t first, int32_t last)> joined;
  // A buffer of `row_bytes` for each row of a chunk, for steps first .. last.
  std::function<int32_t(int64_t row_bytes, int32_t first, int32_t last)> add_buffer;
};

// Joins each run of neighbouring line steps of one height, of which only the first may need a
// buffer complete; and such a run with the next one, where that begins with a step that alone reads
// windows of what the first one writes.
void FuseLineSteps(std::vector<std::unique_ptr<Step>>& steps, const FusionPlan& plan);

}  // namespace bitmill
