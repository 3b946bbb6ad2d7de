// One step of a compiled plan, and what it sees while it runs.
//
// A plan is a list of steps over numbered buffers. A batch is processed in chunks of a few rows,
// and neighbouring steps take a chunk's rows in groups that stay in the second-level cache
// (row_schedule.h): each step handles all rows of a group before the next step starts. To a step a
// group is a chunk. Steps are immutable after compilation and shared by threads; everything
// that changes lives in the buffers or in the StepState of one context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/backend.h"
#include "backends/cpu/buffer_layout.h"

namespace bitmill {

// Whatever a step needs to own for each thread of a context; made once, when the context is made.
class StepState {
 public:
  virtual ~StepState() = default;
};

struct StepRun {
  const BatchRows* batch = nullptr;
  int64_t first_row = 0;  // of the batch; the chunk is rows first_row .. first_row + rows - 1
  int64_t rows = 0;
  // Base address of each buffer of the plan. Where threads share a step, each has working memory
  // (StepBuilder::AddScratch) of its own: its table differs from the others' there.
  std::byte* const* buffers = nullptr;
  StepState* state = nullptr;  // what CreateState() returned for this thread of this context
  // A buffer of which only some lines exist, at its start: those from this byte on. -1: none.
  int32_t moved_buffer = -1;
  int64_t moved_bytes = 0;

  // Where byte 0 of a buffer is or, of a moved one, would be.
  std::byte* Base(int32_t buffer) const {
    if (buffer != moved_buffer) return buffers[buffer];
    // By integers: the pointer is outside of the buffer until a line's offset is added.
    const intptr_t start = reinterpret_cast<intptr_t>(buffers[buffer]) - moved_bytes;
    return reinterpret_cast<std::byte*>(start);  // NOLINT(performance-no-int-to-ptr)
  }
};

// A value as a step reads or writes it: a buffer of the arena, or a graph input read in place.
struct Operand {
  int32_t buffer = -1;      // index into StepRun::buffers, or -1
  int32_t input_port = -1;  // index of a graph input, or -1
  BufferLayout layout;
  int64_t offset_bytes = 0;  // in a buffer: where row 0 begins

  bool in_request() const { return input_port >= 0; }

  // Row r of the chunk. In a request it has any alignment.
  const std::byte* Row(const StepRun& run, int64_t r) const {
    if (in_request()) {
      return run.batch->inputs[static_cast<size_t>(input_port)][run.first_row + r];
    }
    return Base(run) + r * layout.image_bytes;
  }
  // Start of the chunk's rows; never for an operand in a request.
  std::byte* Base(const StepRun& run) const { return run.Base(buffer) + offset_bytes; }
};

inline bool IsAligned(const void* pointer, size_t alignment) {
  return reinterpret_cast<uintptr_t>(pointer) % alignment == 0;
}

// For people: one line of the plan.
struct StepInfo {
  std::string name;              // the node's, or what the step is for
  std::string kernel;            // "bconv_avx2", "dnnl_conv", "reference:Concat"
  std::string input, output;     // shapes
  std::string bits;              // "1x1 -> 1": activations x weights -> output
  int64_t macs = 0;              // of a row
  int64_t weight_bytes = 0;      // packed weights and tables
  int64_t output_bytes = 0;      // of a row, as stored
  int64_t value_bytes = 0;       // of a row: all values read and written, inner ones too
  bool rows_together = false;    // what weights cost is shared by the rows of a call
  bool output_anywhere = false;  // the output may lie at any address where floats may
  std::string tuned;             // the measured choice and what it gains; empty: the usual way
  // For measuring choices (tune.h).
  std::vector<int32_t> nodes;  // low-bit layers of the lowered graph that the step computes
  bool blocked = false;        // whether it works in blocks that LayerChoice::block_shift changes
};

class Step {
 public:
  virtual ~Step() = default;
  // Computes all rows of the chunk. Allocates nothing, except where a step's file says so. Errors
  // are Internal, or InvalidArgument when an input value has no meaning for the model.
  virtual absl::Status Run(const StepRun& run) const = 0;
  virtual std::unique_ptr<StepState> CreateState() const { return nullptr; }

  // Parts of about equal work into which the chunk's work can be divided: output lines of all rows,
  // or blocks of output channels. 0: the step runs as a whole. After Prepare() threads run all
  // parts, in any order and at the same time; that does what Run() does, bit for bit.
  virtual int64_t parts() const { return 0; }
  virtual void Prepare(const StepRun& /*run*/) const {}
  virtual absl::Status RunParts(const StepRun& /*run*/, int64_t /*first*/,
                                int64_t /*count*/) const {
    return absl::InternalError("a step without parts");
  }

  const StepInfo& info() const { return info_; }
  StepInfo& mutable_info() { return info_; }

 private:
  StepInfo info_;
};

}  // namespace bitmill
