// One float layer as a oneDNN primitive over a single row.
//
// Each row is its own execution, so that what a row gives cannot depend on the batch. The primitive
// runs with one OpenMP thread: parallelism is over requests, rows and parts, and is ours. A large
// convolution is always cut into the same parts, blocks of lines with a primitive each, so that
// what they give cannot depend on the number of threads. Weights are
// reordered once, when the layer is made. Memory objects are made with the context; running a row
// points them at the row. oneDNN itself allocates a few hundred bytes for each execution (its table
// of arguments); all tensors and its scratchpad live in the arena.
//
// In bfloat16 (KernelSet::bf16) inputs are converted by oneDNN, a row or a block of lines at a
// time, and weights once; sums, bias and outputs are float. A layer that oneDNN has no fast form of
// in bfloat16 stays in float.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cpu/step.h"
#include "backends/cpu/step_builder.h"
#include "model/lowered.h"

namespace bitmill {

class DnnlLayer {
 public:
  virtual ~DnnlLayer() = default;
  virtual std::unique_ptr<StepState> CreateState() const = 0;
  // Blocks of output lines, of equal height but for the last; at least 1.
  virtual int64_t parts() const = 0;
  virtual int64_t part_lines() const = 0;  // of all but the last
  // One part of one row; src and dst are the row's, aligned to 4 bytes and do not overlap.
  virtual absl::Status RunPart(const StepRun& run, const std::byte* src, std::byte* dst,
                               int64_t part) const = 0;
  virtual int64_t weight_bytes() const = 0;
  virtual std::string implementation() const = 0;  // "dnnl jit:avx2"
};

// Shapes as in the layouts; storage of input and output may be planar or channels innermost.
absl::StatusOr<std::unique_ptr<DnnlLayer>> MakeDnnlConv(const FloatConvOp& op,
                                                        const BufferLayout& input,
                                                        const BufferLayout& output,
                                                        StepBuilder& builder);
absl::StatusOr<std::unique_ptr<DnnlLayer>> MakeDnnlDense(const FloatDenseOp& op,
                                                         const BufferLayout& input,
                                                         const BufferLayout& output,
                                                         StepBuilder& builder);

}  // namespace bitmill
