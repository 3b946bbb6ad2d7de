#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/conv_window.h"
#include "backends/cpu/float_layer_step.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "base/tensor.h"

namespace bitmill {

absl::StatusOr<StepPtr> MakeFloatConvStep(const FloatConvOp& op, const Operand& input,
                                          const Operand& output, StepBuilder& builder) {
  const BufferLayout& in = input.layout;
  const BufferLayout& out = output.layout;
  if (op.weights == nullptr || op.weights->dtype() != DType::kFloat32 ||
      op.weights->shape().size() != 4 || op.groups < 1 || op.weights->shape()[0] != out.channels ||
      CheckedMul(op.weights->shape()[1], op.groups) != in.channels ||
      (!op.bias.empty() && static_cast<int64_t>(op.bias.size()) != out.channels)) {
    return absl::InternalError(absl::StrCat("weights or bias do not fit ", in.channels, " -> ",
                                            out.channels, " channels"));
  }
  const Shape& shape = op.weights->shape();
  if (op.stride_h < 1 || op.stride_w < 1 || op.dilation_h < 1 || op.dilation_w < 1 ||
      !ReachFits({in.height, out.height, shape[2], op.stride_h, op.dilation_h, op.pad_top}) ||
      !ReachFits({in.width, out.width, shape[3], op.stride_w, op.dilation_w, op.pad_left})) {
    return absl::ResourceExhaustedError("window of a float convolution reaches beyond 2^31");
  }
  BITMILL_ASSIGN_OR_RETURN(const int64_t macs,
                           CountMacs({out.elements, shape[1], shape[2], shape[3]}));
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<DnnlLayer> layer, MakeDnnlConv(op, in, out, builder));
  const bool pointwise = shape[2] == 1 && shape[3] == 1 && op.stride_h == 1 && op.stride_w == 1 &&
                         in.height == out.height && in.width == out.width && op.pad_top == 0 &&
                         op.pad_left == 0;
  return MakeFloatLayerStep(std::move(layer), op.chain, input, output, {macs, pointwise}, builder);
}

}  // namespace bitmill
