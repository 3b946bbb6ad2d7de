// One float layer as a oneDNN primitive over a single row; the only file that includes oneDNN.
//
// Each row is its own execution, so that what a row gives cannot depend on the batch. The primitive
// runs with one OpenMP thread: parallelism is over rows and requests, and is ours. Weights are
// reordered once, when the layer is made. Memory objects are made with the context; running a row
// points them at the row. oneDNN itself allocates a few hundred bytes for each execution (its table
// of arguments); all tensors and its scratchpad live in the arena.
//
// oneDNN picks its instruction set once a process: the first float layer limits it to the
// instruction set of its model, later ones can no longer change it.
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
  // One row; src and dst are aligned to 4 bytes and do not overlap.
  virtual absl::Status RunRow(const StepRun& run, const std::byte* src, std::byte* dst) const = 0;
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
