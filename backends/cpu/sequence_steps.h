// Steps for sequences: tensors that are not images, and images whose pixels are tokens. Which node
// is which operation, and the factories of their steps (see steps.h for what these promise).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/cpu/steps.h"

namespace bitmill {

// Axes of a computed float tensor change places.
struct PermuteOp {
  std::vector<int64_t> perm;
};

// A float tensor and a constant that broadcasts to it.
struct ConstantOperandOp {
  FmapOp op = FmapOp::kAdd;
  size_t data = 0;  // which input is the tensor
};

using SequenceOp = std::variant<PermuteOp, ConstantOperandOp>;

// The operation of a node that was not lowered; nothing for those that are none of the above.
std::optional<SequenceOp> SequenceOpOf(const Graph& graph, const Node& node);

// Its step: `inputs` are the operands of the inputs that are computed, in order.
absl::StatusOr<StepPtr> MakeSequenceStep(const SequenceOp& op, const Graph& graph, const Node& node,
                                         absl::Span<const Operand> inputs, const Operand& output,
                                         StepBuilder& builder);

// How a Transpose between an image [1,C,H,W] and [1,H,W,C] moves no element when the image is
// stored channels innermost.
enum class PixelOrder : uint8_t { kNone, kToImage, kFromImage };
PixelOrder PixelOrderOf(const Graph& graph, const Node& node);

// `shape` is the input's, `perm` as ONNX has it.
absl::StatusOr<StepPtr> MakePermuteStep(absl::Span<const int64_t> perm,
                                        absl::Span<const int64_t> shape, const Operand& input,
                                        const Operand& output, StepBuilder& builder);

// Both stored alike, of this shape.
absl::StatusOr<StepPtr> MakeConstantOperandStep(FmapOp op, const Tensor& constant,
                                                absl::Span<const int64_t> shape,
                                                const Operand& input, const Operand& output,
                                                StepBuilder& builder);

// LowBitTransposeOp.
absl::StatusOr<StepPtr> MakeCodeTransposeStep(const Operand& input, const Operand& output,
                                              StepBuilder& builder);

}  // namespace bitmill
