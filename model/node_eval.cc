#include "model/node_eval.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/checked_math.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxCost = std::numeric_limits<int64_t>::max();

int64_t SaturatedMul(int64_t a, int64_t b) { return CheckedMul(a, b).value_or(kMaxCost); }
int64_t SaturatedAdd(int64_t a, int64_t b) { return CheckedAdd(a, b).value_or(kMaxCost); }

int64_t LastDim(absl::Span<const int64_t> shape) { return shape.empty() ? 1 : shape.back(); }

// Steps of the inner loop for one output element.
int64_t InnerSteps(const Node& node, absl::Span<const InputInfo> inputs) {
  const auto shape = [&](size_t i) {
    return i < inputs.size() ? inputs[i].shape : absl::Span<const int64_t>();
  };
  const auto taps = [&](size_t weights) -> int64_t {
    const auto w = shape(weights);
    return w.empty() ? 1 : CheckedProduct(w.subspan(1)).value_or(kMaxCost);
  };
  if (node.op == "Conv" || node.op == "ConvInteger") return taps(1);
  if (node.op == "QLinearConv") return taps(3);
  if (node.op == "Gemm" && !shape(0).empty()) {
    return *std::max_element(shape(0).begin(), shape(0).end());
  }
  if (node.op == "MatMul" || node.op == "MatMulInteger" || node.op == "QLinearMatMul") {
    return LastDim(shape(0));
  }
  if (node.op == "MultiThreshold") return LastDim(shape(1));
  if (node.op == "TopK") return CheckedProduct(shape(0)).value_or(kMaxCost);
  if (const auto kernel = node.attributes.find("kernel_shape"); kernel != node.attributes.end()) {
    if (const auto* dims = std::get_if<std::vector<int64_t>>(&kernel->second)) {
      return CheckedProduct(*dims).value_or(kMaxCost);
    }
  }
  return 1;
}

}  // namespace

absl::StatusOr<std::vector<Tensor>> EvaluateNode(const OpDef& op, const Node& node, int64_t opset,
                                                 absl::Span<const TensorView> inputs,
                                                 absl::Span<const TensorType> types) {
  std::vector<Tensor> tensors(node.outputs.size());
  std::vector<MutableTensorView> views(node.outputs.size());
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == kNoValue) continue;
    BITMILL_ASSIGN_OR_RETURN(tensors[i], Tensor::Create(types[i].dtype, types[i].shape));
    views[i] = tensors[i].mutable_view();
  }
  BITMILL_RETURN_IF_ERROR(op.eval(node, opset, inputs, absl::MakeSpan(views)));
  return tensors;
}

int64_t EvaluationCost(const Node& node, absl::Span<const InputInfo> inputs,
                       absl::Span<const TensorType> outputs) {
  int64_t out = 0;
  for (const TensorType& type : outputs) {
    out = SaturatedAdd(out, CheckedProduct(type.shape).value_or(kMaxCost));
  }
  int64_t cost = SaturatedMul(out, std::max<int64_t>(1, InnerSteps(node, inputs)));
  for (const InputInfo& input : inputs) {
    if (input.dtype == DType::kInvalid) continue;
    cost = SaturatedAdd(cost, CheckedProduct(input.shape).value_or(kMaxCost));
  }
  return cost;
}

bool NeedsNoData(const Node& node) {
  return node.op == "Shape" && (node.domain.empty() || node.domain == "ai.onnx");
}

}  // namespace bitmill
