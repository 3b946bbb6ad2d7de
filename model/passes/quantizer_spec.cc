#include "model/passes/quantizer_spec.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "model/passes/graph_edit.h"
#include "model/passes/thresholds.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxLevels = 256;

bool IsInteger(double x) { return std::nearbyint(x) == x && std::fabs(x) < 1e9; }

bool UsableScale(float scale) { return std::isfinite(scale) && scale > 0.0F; }

bool UniformInput(const Graph& graph, const Node& node, size_t index, float* value) {
  const Tensor* tensor = ConstantInput(graph, node, index);
  return tensor != nullptr && UniformValue(*tensor, value);
}

float Round(Rounding rounding, float x) {
  switch (rounding) {
    case Rounding::kHalfEven:
      return std::nearbyint(x);
    case Rounding::kFloor:
      return std::floor(x);
    case Rounding::kCeil:
      return std::ceil(x);
    case Rounding::kTowardZero:
      return std::trunc(x);
  }
  return x;
}

std::optional<Rounding> RoundingOf(std::string mode) {
  std::transform(mode.begin(), mode.end(), mode.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  if (mode == "ROUND" || mode == "HALF_EVEN") return Rounding::kHalfEven;
  if (mode == "FLOOR") return Rounding::kFloor;
  if (mode == "CEIL") return Rounding::kCeil;
  if (mode == "ROUND_TO_ZERO" || mode == "DOWN") return Rounding::kTowardZero;
  return std::nullopt;
}

// real = scale * (integer - zero_point), integer = round(x / scale + zero_point) in [low, high].
QuantizerSpec UniformSpec(float scale, int32_t zero_point, int32_t low, int32_t high,
                          Rounding rounding, bool clamp_first) {
  QuantizerSpec spec;
  spec.quantizer.code = {CodeKind::kUInt8, scale, zero_point - low, high - low + 1};
  spec.quantizer.offset = static_cast<float>(zero_point - low);
  spec.quantizer.rounding = rounding;
  spec.quantizer.clamp_first = clamp_first;
  spec.uniform = true;
  const auto bottom = static_cast<float>(low);
  const auto top = static_cast<float>(high);
  const auto zero = static_cast<float>(zero_point);
  spec.thresholds = CodeThresholds(spec.levels(), [&](float x) {
    float integer = clamp_first ? Round(rounding, std::clamp(x / scale + zero, bottom, top))
                                : Round(rounding, x / scale) + zero;
    return static_cast<int32_t>(std::clamp(integer, bottom, top) - bottom);
  });
  return spec;
}

std::optional<QuantizerSpec> QuantSpec(const Graph& graph, const Node& node) {
  float scale = 0.0F;
  float zero_point = 0.0F;
  float bits = 0.0F;
  if (!UniformInput(graph, node, 1, &scale) || !UniformInput(graph, node, 2, &zero_point) ||
      !UniformInput(graph, node, 3, &bits) || !UsableScale(scale) || !IsInteger(zero_point) ||
      !IsInteger(bits) || bits < 1.0F || bits > 8.0F) {
    return std::nullopt;
  }
  const auto rounding = RoundingOf(StringAttribute(node, "rounding_mode", "ROUND"));
  if (!rounding) return std::nullopt;
  const bool is_signed = IntAttribute(node, "signed", 1) != 0;
  const auto narrow = static_cast<int32_t>(IntAttribute(node, "narrow", 0) != 0);
  const int32_t width = static_cast<int32_t>(bits);
  if (is_signed && width == 1) {
    // One signed bit is {-1, +1}, as in BipolarQuant.
    return zero_point == 0.0F ? std::optional(BipolarSpec(scale)) : std::nullopt;
  }
  const int32_t low = is_signed ? -(1 << (width - 1)) + narrow : 0;
  const int32_t high = is_signed ? (1 << (width - 1)) - 1 : (1 << width) - 1 - narrow;
  if (high <= low) return std::nullopt;
  return UniformSpec(scale, static_cast<int32_t>(zero_point), low, high, *rounding, true);
}

std::optional<QuantizerSpec> QuantizeLinearSpec(const Graph& graph, const Node& node) {
  float scale = 0.0F;
  float zero_point = 0.0F;
  const DType dtype = graph.value(node.outputs[0]).dtype;
  if ((dtype != DType::kInt8 && dtype != DType::kUInt8) || !UniformInput(graph, node, 1, &scale) ||
      !UsableScale(scale)) {
    return std::nullopt;
  }
  if (InputOf(node, 2) != kNoValue && !UniformInput(graph, node, 2, &zero_point)) {
    return std::nullopt;
  }
  const int32_t low = dtype == DType::kInt8 ? -128 : 0;
  return UniformSpec(scale, static_cast<int32_t>(zero_point), low, low + 255, Rounding::kHalfEven,
                     false);
}

std::optional<QuantizerSpec> MultiThresholdSpec(const Graph& graph, const Node& node) {
  const Tensor* tensor = ConstantInput(graph, node, 1);
  const Shape& data = graph.value(node.inputs[0]).shape;
  const bool channels_last = node.domain == "qonnx.custom_op.channels_last" ||
                             StringAttribute(node, "data_layout", "NCHW").substr(0, 2) != "NC";
  if (tensor == nullptr || tensor->shape().size() != 2 || (channels_last && data.size() != 2)) {
    return std::nullopt;
  }
  const int64_t steps = tensor->shape()[1];
  const float out_scale = FloatAttribute(node, "out_scale", 1.0F);
  const float out_bias = FloatAttribute(node, "out_bias", 0.0F);
  if (steps < 1 || steps >= kMaxLevels || !UsableScale(out_scale) || data.size() < 2 ||
      (tensor->shape()[0] != 1 && tensor->shape()[0] != data[1])) {
    return std::nullopt;
  }
  QuantizerSpec spec;
  spec.channels = tensor->shape()[0];
  const double zero_point = -static_cast<double>(out_bias) / out_scale;
  if (steps == 1 && zero_point == 0.5) {
    spec.quantizer.code = {CodeKind::kBits, out_scale / 2.0F, 0, 2};
  } else if (IsInteger(zero_point)) {
    spec.quantizer.code = {CodeKind::kUInt8, out_scale, static_cast<int32_t>(zero_point),
                           static_cast<int32_t>(steps) + 1};
  } else {
    return std::nullopt;
  }
  spec.thresholds = FloatsOf(*tensor);
  for (int64_t c = 0; c < spec.channels; ++c) {
    float* const row = spec.thresholds.data() + c * steps;
    std::sort(row, row + steps,
              [](float a, float b) { return std::isnan(b) ? !std::isnan(a) : a < b; });
  }
  return spec;
}

}  // namespace

QuantizerSpec BipolarSpec(float scale) {
  QuantizerSpec spec;
  spec.quantizer.code = {CodeKind::kBits, scale, 0, 2};
  spec.thresholds = {0.0F};
  spec.uniform = true;
  return spec;
}

QuantizerSpec IntegerSpec(int32_t low, int32_t high, Rounding rounding) {
  return UniformSpec(1.0F, 0, low, high, rounding, false);
}

QuantizerSpec RecoverySpec(const CodeInfo& info) {
  QuantizerSpec spec;
  spec.quantizer.code = info;
  if (info.kind == CodeKind::kBits) {
    spec.thresholds = {0.0F};
    return spec;
  }
  for (int32_t code = 1; code < info.levels; ++code) {
    spec.thresholds.push_back(info.scale * (static_cast<float>(code - info.zero_point) - 0.5F));
  }
  spec.quantizer.offset = static_cast<float>(info.zero_point);
  spec.uniform = true;
  return spec;
}

std::optional<QuantizerSpec> QuantizerSpecOf(const Graph& graph, const Node& node) {
  const ValueId input = InputOf(node, 0);
  if (input == kNoValue || node.outputs.empty() || graph.value(input).dtype != DType::kFloat32) {
    return std::nullopt;
  }
  if (IsOp(node, "Quant") || IsOp(node, "IntQuant")) return QuantSpec(graph, node);
  if (IsOp(node, "QuantizeLinear")) return QuantizeLinearSpec(graph, node);
  if (IsOp(node, "MultiThreshold")) return MultiThresholdSpec(graph, node);
  if (IsOp(node, "BipolarQuant")) {
    float scale = 0.0F;
    if (!UniformInput(graph, node, 1, &scale) || !UsableScale(scale)) return std::nullopt;
    return BipolarSpec(scale);
  }
  if (IsOp(node, "Sign")) {
    QuantizerSpec spec;
    spec.quantizer.code = {CodeKind::kUInt8, 1.0F, 1, 3};
    spec.thresholds = {0.0F, std::numeric_limits<float>::denorm_min()};
    return spec;
  }
  return std::nullopt;
}

}  // namespace bitmill
