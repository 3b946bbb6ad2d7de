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

// A way to round, as the operators define it; `plain` when it is one that Quantizer has.
struct RoundingMode {
  const char* name;
  float (*round)(float);
  std::optional<Rounding> plain;
};

float HalfAway(float x) { return std::copysign(std::floor(std::fabs(x) + 0.5F), x); }
float HalfToZero(float x) { return std::copysign(std::ceil(std::fabs(x) - 0.5F), x); }
float AwayFromZero(float x) { return std::copysign(std::ceil(std::fabs(x)), x); }

constexpr RoundingMode kRoundingModes[] = {
    {"ROUND", [](float x) { return std::nearbyint(x); }, Rounding::kHalfEven},
    {"HALF_EVEN", [](float x) { return std::nearbyint(x); }, Rounding::kHalfEven},
    {"FLOOR", [](float x) { return std::floor(x); }, Rounding::kFloor},
    {"CEIL", [](float x) { return std::ceil(x); }, Rounding::kCeil},
    {"ROUND_TO_ZERO", [](float x) { return std::trunc(x); }, Rounding::kTowardZero},
    {"DOWN", [](float x) { return std::trunc(x); }, Rounding::kTowardZero},
    {"UP", AwayFromZero, std::nullopt},
    {"HALF_UP", HalfAway, std::nullopt},
    {"HALF_DOWN", HalfToZero, std::nullopt},
};

const RoundingMode* RoundingModeOf(const Node& node, const char* fallback) {
  std::string name = StringAttribute(node, "rounding_mode", fallback);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  for (const RoundingMode& mode : kRoundingModes) {
    if (name == mode.name) return &mode;
  }
  return nullptr;
}

const RoundingMode& PlainMode(Rounding rounding) {
  for (const RoundingMode& mode : kRoundingModes) {
    if (mode.plain == rounding) return mode;
  }
  return kRoundingModes[0];
}

// The integers of a width, as Quant and Trunc clamp to.
struct IntegerRange {
  int32_t low = 0, high = 0;
};
IntegerRange RangeOfWidth(const Node& node, int32_t width) {
  const auto narrow = static_cast<int32_t>(IntAttribute(node, "narrow", 0) != 0);
  if (IntAttribute(node, "signed", 1) != 0) {
    return {-(1 << (width - 1)) + narrow, (1 << (width - 1)) - 1};
  }
  return {0, (1 << width) - 1 - narrow};
}

bool IsWidth(float bits) { return IsInteger(bits) && bits >= 1.0F && bits <= 8.0F; }

// real = scale * (integer - zero_point), integer = round(x / scale + zero_point) in [low, high].
QuantizerSpec UniformSpec(float scale, int32_t zero_point, int32_t low, int32_t high,
                          const RoundingMode& mode, bool clamp_first) {
  QuantizerSpec spec;
  spec.quantizer.code = {CodeKind::kUInt8, scale, zero_point - low, high - low + 1};
  spec.quantizer.offset = static_cast<float>(zero_point - low);
  spec.quantizer.rounding = mode.plain.value_or(Rounding::kHalfEven);
  spec.quantizer.clamp_first = clamp_first;
  spec.uniform = mode.plain.has_value();
  const auto bottom = static_cast<float>(low);
  const auto top = static_cast<float>(high);
  const auto zero = static_cast<float>(zero_point);
  spec.thresholds = CodeThresholds(spec.levels(), [&](float x) {
    const float integer = clamp_first ? mode.round(std::clamp(x / scale + zero, bottom, top))
                                      : mode.round(x / scale) + zero;
    return static_cast<int32_t>(std::clamp(integer, bottom, top) - bottom);
  });
  return spec;
}

std::optional<QuantizerSpec> QuantSpec(const Graph& graph, const Node& node) {
  float scale = 0.0F;
  float zero_point = 0.0F;
  float bits = 0.0F;
  const RoundingMode* const mode = RoundingModeOf(node, "ROUND");
  if (mode == nullptr || !UniformInput(graph, node, 1, &scale) ||
      !UniformInput(graph, node, 2, &zero_point) || !UniformInput(graph, node, 3, &bits) ||
      !UsableScale(scale) || !IsInteger(zero_point) || !IsWidth(bits)) {
    return std::nullopt;
  }
  const auto width = static_cast<int32_t>(bits);
  if (width == 1 && IntAttribute(node, "signed", 1) != 0) {
    // One signed bit is {-1, +1}, as in BipolarQuant.
    return zero_point == 0.0F ? std::optional(BipolarSpec(scale)) : std::nullopt;
  }
  const IntegerRange range = RangeOfWidth(node, width);
  if (range.high <= range.low) return std::nullopt;
  return UniformSpec(scale, static_cast<int32_t>(zero_point), range.low, range.high, *mode, true);
}

// The second version, which clamps: x, scale, zero_point, in_bits, out_scale, out_bits. (The first
// leaves any integer, so its codes are not bounded.)
std::optional<QuantizerSpec> TruncSpec(const Graph& graph, const Node& node) {
  float scale = 0.0F;
  float zero_point = 0.0F;
  float out_scale = 0.0F;
  float bits = 0.0F;
  const RoundingMode* const mode = RoundingModeOf(node, "FLOOR");
  if (node.inputs.size() != 6 || mode == nullptr || !UniformInput(graph, node, 1, &scale) ||
      !UniformInput(graph, node, 2, &zero_point) || !UniformInput(graph, node, 4, &out_scale) ||
      !UniformInput(graph, node, 5, &bits) || !UsableScale(scale) || !UsableScale(out_scale) ||
      zero_point != 0.0F || !IsWidth(bits)) {
    return std::nullopt;
  }
  const IntegerRange range = RangeOfWidth(node, static_cast<int32_t>(bits));
  if (range.high <= range.low) return std::nullopt;
  const float divisor = std::exp2(std::nearbyint(std::log2(out_scale / scale)));
  if (!UsableScale(divisor)) return std::nullopt;
  const auto bottom = static_cast<float>(range.low);
  const auto top = static_cast<float>(range.high);
  QuantizerSpec spec;
  spec.quantizer.code = {CodeKind::kUInt8, out_scale, -range.low, range.high - range.low + 1};
  spec.thresholds = CodeThresholds(spec.levels(), [&](float x) {
    const float integer = std::nearbyint(x / scale) / divisor;
    return static_cast<int32_t>(mode->round(std::clamp(integer, bottom, top)) - bottom);
  });
  return spec;
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
  return UniformSpec(scale, static_cast<int32_t>(zero_point), low, low + 255,
                     PlainMode(Rounding::kHalfEven), false);
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
  return UniformSpec(1.0F, 0, low, high, PlainMode(rounding), false);
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
  if (IsOp(node, "Trunc")) return TruncSpec(graph, node);
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
