#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/float_layer_step.h"
#include "base/status_macros.h"
#include "base/tensor.h"

namespace bitmill {

absl::StatusOr<StepPtr> MakeFloatDenseStep(const FloatDenseOp& op, const Operand& input,
                                           const Operand& output, StepBuilder& builder) {
  if (op.weights == nullptr || op.weights->dtype() != DType::kFloat32 ||
      op.weights->shape().size() != 2 || op.weights->shape()[0] != output.layout.elements ||
      op.weights->shape()[1] != input.layout.elements ||
      (!op.bias.empty() && static_cast<int64_t>(op.bias.size()) != output.layout.elements)) {
    return absl::InternalError(absl::StrCat("weights or bias do not fit ", input.layout.elements,
                                            " -> ", output.layout.elements, " elements"));
  }
  const int64_t macs = input.layout.elements * output.layout.elements;
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<DnnlLayer> layer,
                           MakeDnnlDense(op, input.layout, output.layout, builder));
  return MakeFloatLayerStep(std::move(layer), op.chain, input, output, {macs}, builder);
}

}  // namespace bitmill
