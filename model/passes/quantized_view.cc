#include "model/passes/quantized_view.h"

#include <array>
#include <cmath>

#include "model/passes/graph_edit.h"

namespace bitmill {
namespace {

// [1,C] and [1,C,H,W] as (channels, height, width).
std::array<int64_t, 3> ImageOf(const Shape& shape) {
  return {shape[1], shape.size() == 4 ? shape[2] : 1, shape.size() == 4 ? shape[3] : 1};
}

// value + addend: an integer number of steps moves the zero point. Bits have none: they turn into
// two codes where the sum allows it.
bool Shift(QuantizedView& view, float addend) {
  if (addend == 0.0F) return true;
  CodeInfo& info = view.info;
  const bool bits = info.kind == CodeKind::kBits;
  // Bits are the codes 0 and 1 of step 2 * scale around a zero point of one half.
  const double step = bits ? 2.0 * info.scale : info.scale;
  const double zero_point = (bits ? 0.5 : info.zero_point) - addend / step;
  if (!std::isfinite(step) || std::nearbyint(zero_point) != zero_point ||
      std::fabs(zero_point) > 1e6) {
    return false;
  }
  info = {CodeKind::kUInt8, static_cast<float>(step), static_cast<int32_t>(zero_point),
          info.levels};
  view.codes = kNoValue;
  return true;
}

bool Scale(QuantizedView& view, float factor) {
  const float scale = view.info.scale * factor;
  if (!std::isfinite(scale) || scale <= 0.0F) return false;
  view.info.scale = scale;
  return true;
}

bool Rectify(QuantizedView& view) {
  CodeInfo& info = view.info;
  if (info.kind == CodeKind::kBits) {
    info = {CodeKind::kUInt8, info.scale, 0, 2};
    view.codes = kNoValue;
    return true;
  }
  if (info.zero_point <= 0) return true;  // nothing is negative
  if (info.zero_point >= info.levels - 1) return false;
  info.levels -= info.zero_point;
  info.zero_point = 0;
  view.codes = kNoValue;
  return true;
}

}  // namespace

std::optional<QuantizedView> ViewThroughChain(const Chain& chain, const QuantizedView& view) {
  QuantizedView result = view;
  for (const ChainStep& step : chain) {
    if (step.operand.size() > 1) return std::nullopt;
    const float operand = step.operand.empty() ? 0.0F : step.operand[0];
    bool known = false;
    switch (step.op) {
      case ChainOp::kAdd:
        known = Shift(result, operand);
        break;
      case ChainOp::kSub:
        known = Shift(result, -operand);
        break;
      case ChainOp::kMul:
        known = Scale(result, operand);
        break;
      case ChainOp::kDiv:
        known = operand != 0.0F && Scale(result, 1.0F / operand);
        break;
      case ChainOp::kRelu:
        known = Rectify(result);
        break;
      default:
        break;
    }
    if (!known) return std::nullopt;
  }
  return result;
}

bool KeepsOrder(const Graph& graph, const Node& node) {
  if (node.inputs.empty() || node.inputs[0] == kNoValue || node.outputs.size() != 1) return false;
  if (IsOp(node, "Identity") || IsOp(node, "Flatten") || IsOp(node, "Reshape") ||
      IsOp(node, "Squeeze") || IsOp(node, "Unsqueeze")) {
    return true;
  }
  if (!IsOp(node, "Transpose")) return false;
  const Shape& shape = graph.value(node.inputs[0]).shape;
  const std::vector<int64_t> perm = IntsAttribute(node, "perm");
  int64_t last = -1;
  for (size_t d = 0; d < shape.size(); ++d) {
    const int64_t from = perm.empty()      ? static_cast<int64_t>(shape.size() - 1 - d)
                         : d < perm.size() ? perm[d]
                                           : -1;
    if (from < 0 || from >= static_cast<int64_t>(shape.size())) return false;
    if (shape[static_cast<size_t>(from)] == 1) continue;
    if (from < last) return false;
    last = from;
  }
  return true;
}

bool SameStorage(const Shape& a, const Shape& b) {
  return CanHoldCodes(a) && CanHoldCodes(b) && ImageOf(a) == ImageOf(b);
}

bool CanHoldCodes(const Shape& shape) {
  if ((shape.size() != 2 && shape.size() != 4) || shape[0] != 1) return false;
  return ElementCount(shape) > 0;
}

}  // namespace bitmill
