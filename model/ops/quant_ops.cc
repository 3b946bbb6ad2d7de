// Quantization operators: QONNX (Quant, BipolarQuant, Trunc, MultiThreshold; the definitions are
// those of the qonnx package and of FINN) and ONNX (QuantizeLinear, DequantizeLinear).
#include <algorithm>
#include <cmath>
#include <string>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

using RoundFn = float (*)(float);

float RoundHalfEven(float x) { return std::nearbyint(x); }
float RoundFloor(float x) { return std::floor(x); }
float RoundCeil(float x) { return std::ceil(x); }
float RoundTowardZero(float x) { return std::trunc(x); }
float RoundAwayFromZero(float x) { return std::copysign(std::ceil(std::fabs(x)), x); }
float RoundHalfAway(float x) { return std::copysign(std::floor(std::fabs(x) + 0.5F), x); }
float RoundHalfToZero(float x) { return std::copysign(std::ceil(std::fabs(x) - 0.5F), x); }

// Null for a name that is not known.
RoundFn RoundingOf(const Node& node, const char* fallback) {
  std::string name = AttrString(node, "rounding_mode", fallback);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  constexpr struct {
    const char* name;
    RoundFn round;
  } kModes[] = {{"ROUND", RoundHalfEven},
                {"HALF_EVEN", RoundHalfEven},
                {"FLOOR", RoundFloor},
                {"CEIL", RoundCeil},
                {"ROUND_TO_ZERO", RoundTowardZero},
                {"DOWN", RoundTowardZero},
                {"UP", RoundAwayFromZero},
                {"HALF_UP", RoundHalfAway},
                {"HALF_DOWN", RoundHalfToZero}};
  for (const auto& mode : kModes) {
    if (name == mode.name) return mode.round;
  }
  return nullptr;
}

absl::Status CheckRounding(const Node& node, const char* fallback) {
  if (RoundingOf(node, fallback) != nullptr) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      "rounding_mode '", AttrString(node, "rounding_mode", fallback),
      "'; ROUND, HALF_EVEN, FLOOR, CEIL, ROUND_TO_ZERO, DOWN, UP, HALF_UP and HALF_DOWN are "
      "supported"));
}

// Input 1; one that is computed at run time may hold anything and is only divided by.
absl::Status CheckScale(const InputInfo& scale) {
  BITMILL_RETURN_IF_ERROR(WantFloat(scale, "the scale"));
  if (scale.constant == nullptr) return absl::OkStatus();
  for (const float value : scale.constant->span<float>()) {
    if (value > 0 && std::isfinite(value)) continue;
    return absl::InvalidArgumentError(absl::StrCat("a scale is ", value, ", wanted above 0"));
  }
  return absl::OkStatus();
}

absl::Status CheckBitWidth(const InputInfo& bits) {
  BITMILL_RETURN_IF_ERROR(WantNumber(bits, "the bit width"));
  if (bits.constant == nullptr) {
    return absl::UnimplementedError("the bit width must be known when the model is loaded");
  }
  if (bits.constant->elements() != 1) {
    return absl::UnimplementedError("a bit width for each channel is not supported");
  }
  const double value = NumberAt(bits.constant->view(), 0);
  if (value >= 1 && value <= 32 && value == std::floor(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a bit width is ", value, ", wanted a whole number from 1 to 32"));
}

InferResult SameAsFirst(absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  Shape shape = ToShape(inputs[0].shape);
  for (size_t i = 1; i < inputs.size(); ++i) {
    BITMILL_ASSIGN_OR_RETURN(const Shape wide, BroadcastShapes(shape, inputs[i].shape));
    if (wide != shape) {
      return absl::InvalidArgumentError(absl::StrCat("input ", i, " of shape ",
                                                     ShapeToString(inputs[i].shape),
                                                     " does not broadcast to the first"));
    }
  }
  return OneOutput(DType::kFloat32, std::move(shape));
}

InferResult InferQuant(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(CheckRounding(node, "ROUND"));
  BITMILL_RETURN_IF_ERROR(CheckScale(inputs[1]));
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[2], "the zero point"));
  BITMILL_RETURN_IF_ERROR(CheckBitWidth(inputs[3]));
  return SameAsFirst(inputs);
}

struct CodeRange {
  float low = 0, high = 0;
  float Clamp(float x) const { return x < low ? low : (x > high ? high : x); }  // NaN stays
};

CodeRange CodeRangeOf(const Node& node, int bits) {
  const bool narrow = AttrInt(node, "narrow", 0) != 0;
  if (AttrInt(node, "signed", 1) != 0) {
    const double half = std::ldexp(1.0, bits - 1);
    return {static_cast<float>(-half + (narrow ? 1 : 0)), static_cast<float>(half - 1)};
  }
  return {0.0F, static_cast<float>(std::ldexp(1.0, bits) - 1 - (narrow ? 1 : 0))};
}

absl::Status EvalQuant(const Node& node, int64_t, absl::Span<const TensorView> in,
                       absl::Span<const MutableTensorView> out) {
  const RoundFn round = RoundingOf(node, "ROUND");
  const int bits = static_cast<int>(NumberAt(in[3], 0));
  const CodeRange range = CodeRangeOf(node, bits);
  const bool bipolar = bits == 1 && AttrInt(node, "signed", 1) != 0;
  const float* x = in[0].as<float>();
  float* to = out[0].as<float>();
  const Shape scale_strides = BroadcastStrides(in[1].shape, out[0].shape);
  const Shape zero_strides = BroadcastStrides(in[2].shape, out[0].shape);
  const float* scales = in[1].as<float>();
  const float* zeros = in[2].as<float>();
  ForEachBroadcast(out[0].shape, scale_strides, zero_strides, [&](int64_t s, int64_t z, int64_t i) {
    const float scale = scales[s];
    const float zero = zeros[z];
    const float scaled = x[i] / scale + zero;
    float code = 0;
    if (bipolar) {
      code = scaled >= 0.0F ? 1.0F : -1.0F;
    } else {
      code = round(range.Clamp(scaled));
    }
    to[i] = (code - zero) * scale;
  });
  return absl::OkStatus();
}

InferResult InferBipolarQuant(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(CheckScale(inputs[1]));
  return SameAsFirst(inputs);
}

absl::Status EvalBipolarQuant(const Node&, int64_t, absl::Span<const TensorView> in,
                              absl::Span<const MutableTensorView> out) {
  const float* scales = in[1].as<float>();
  const float* x = in[0].as<float>();
  float* to = out[0].as<float>();
  const Shape scale_strides = BroadcastStrides(in[1].shape, out[0].shape);
  ForEachBroadcast(out[0].shape, scale_strides, scale_strides, [&](int64_t s, int64_t, int64_t i) {
    to[i] = x[i] >= 0.0F ? scales[s] : -scales[s];
  });
  return absl::OkStatus();
}

// Trunc in its two versions: version 1 drops the low in_bits - out_bits bits of a code and keeps
// the scale, version 2 divides by the power of two nearest to out_scale / scale and clamps to
// out_bits.
//   1: x, scale, zero_point, in_bits, out_bits
//   2: x, scale, zero_point, in_bits, out_scale, out_bits
InferResult InferTrunc(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(CheckRounding(node, "FLOOR"));
  BITMILL_RETURN_IF_ERROR(CheckScale(inputs[1]));
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[2], "the zero point"));
  BITMILL_RETURN_IF_ERROR(CheckBitWidth(inputs[3]));
  BITMILL_RETURN_IF_ERROR(CheckBitWidth(inputs.back()));
  if (inputs.size() == 6) {
    BITMILL_RETURN_IF_ERROR(CheckScale(inputs[4]));
    if (inputs[4].shape != inputs[1].shape && ElementCount(inputs[4].shape) != 1) {
      return absl::UnimplementedError("the two scales have different shapes");
    }
  } else if (NumberAt(inputs[3].constant->view(), 0) < NumberAt(inputs[4].constant->view(), 0)) {
    return absl::InvalidArgumentError("Trunc to more bits than it is given");
  }
  return SameAsFirst(inputs);
}

absl::Status EvalTrunc(const Node& node, int64_t, absl::Span<const TensorView> in,
                       absl::Span<const MutableTensorView> out) {
  const RoundFn round = RoundingOf(node, "FLOOR");
  const bool second = in.size() == 6;
  const auto drop = static_cast<int>(NumberAt(in[3], 0) - NumberAt(in[second ? 3 : 4], 0));
  const CodeRange range = CodeRangeOf(node, static_cast<int>(NumberAt(in.back(), 0)));
  const float* x = in[0].as<float>();
  const float* scales = in[1].as<float>();
  const float* zeros = in[2].as<float>();
  const bool one_out_scale = in[4].elements() == 1;
  float* to = out[0].as<float>();
  ForEachBroadcast(out[0].shape, BroadcastStrides(in[1].shape, out[0].shape),
                   BroadcastStrides(in[2].shape, out[0].shape),
                   [&](int64_t s, int64_t z, int64_t i) {
                     float out_scale = scales[s];
                     float divisor = std::ldexp(1.0F, drop);
                     if (second) {
                       out_scale = in[4].as<float>()[one_out_scale ? 0 : s];
                       divisor = std::exp2(std::nearbyint(std::log2(out_scale / scales[s])));
                     }
                     float code = std::nearbyint(x[i] / scales[s] + zeros[z]) / divisor;
                     if (second) code = range.Clamp(code);
                     to[i] = (round(code) - (second ? zeros[z] / divisor : zeros[z])) * out_scale;
                   });
  return absl::OkStatus();
}

// ---- MultiThreshold ----------------------------------------------------------------------------

// Channels on axis 1, or last for rank 2, data_layout NHWC and the channels_last domain.
bool ChannelsLast(const Node& node, size_t rank) {
  return rank == 2 || node.domain == "qonnx.custom_op.channels_last" ||
         AttrString(node, "data_layout", "NCHW") == "NHWC" ||
         AttrString(node, "data_layout", "NCHW") == "NWC";
}

InferResult InferMultiThreshold(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[1], "the thresholds"));
  BITMILL_RETURN_IF_ERROR(WantRank(inputs[1], 2, "the thresholds"));
  const auto& shape = inputs[0].shape;
  if (shape.size() < 2) return WantRank(inputs[0], 2, "the input");
  const int64_t channels = ChannelsLast(node, shape.size()) ? shape.back() : shape[1];
  if (inputs[1].shape[0] != 1 && inputs[1].shape[0] != channels) {
    return absl::InvalidArgumentError(
        absl::StrCat("thresholds for ", inputs[1].shape[0], " channels, the input has ", channels));
  }
  return OneOutput(DType::kFloat32, ToShape(shape));
}

absl::Status EvalMultiThreshold(const Node& node, int64_t, absl::Span<const TensorView> in,
                                absl::Span<const MutableTensorView> out) {
  const float out_scale = AttrFloat(node, "out_scale", 1.0F);
  const float out_bias = AttrFloat(node, "out_bias", 0.0F);
  const auto& shape = in[0].shape;
  const bool last = ChannelsLast(node, shape.size());
  const int64_t channels = last ? shape.back() : shape[1];
  const int64_t inner = last ? 1 : ElementCount(shape.subspan(2));
  const int64_t steps = in[1].shape[1];
  const int64_t rows = in[1].shape[0];
  const float* x = in[0].as<float>();
  const float* thresholds = in[1].as<float>();
  float* to = out[0].as<float>();
  const int64_t count = in[0].elements();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t channel = (i / inner) % channels;
    const float* own = thresholds + (rows == 1 ? 0 : channel) * steps;
    int64_t passed = 0;
    for (int64_t k = 0; k < steps; ++k) passed += x[i] >= own[k] ? 1 : 0;
    to[i] = static_cast<float>(passed) * out_scale + out_bias;
  }
  return absl::OkStatus();
}

// ---- QuantizeLinear, DequantizeLinear ----------------------------------------------------------

struct PerAxis {
  int64_t channels = 1, inner = 1;
  int64_t Channel(int64_t i) const { return channels == 1 ? 0 : (i / inner) % channels; }
};

absl::StatusOr<PerAxis> AxisOf(const Node& node, absl::Span<const int64_t> shape,
                               absl::Span<const int64_t> scale_shape) {
  PerAxis axis;
  if (ElementCount(scale_shape) == 1) return axis;
  if (AttrInt(node, "block_size", 0) != 0) {
    return absl::UnimplementedError("blocked quantization is not supported");
  }
  BITMILL_ASSIGN_OR_RETURN(const int64_t at, NormalizeAxis(AttrInt(node, "axis", 1),
                                                           static_cast<int64_t>(shape.size())));
  if (scale_shape.size() != 1 || scale_shape[0] != shape[static_cast<size_t>(at)]) {
    return absl::InvalidArgumentError(absl::StrCat("scale of shape ", ShapeToString(scale_shape),
                                                   " for axis ", at, " of ", ShapeToString(shape)));
  }
  axis.channels = scale_shape[0];
  axis.inner = ElementCount(shape.subspan(static_cast<size_t>(at) + 1));
  return axis;
}

absl::Status CheckZeroPoint(const Node& node, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[1], "the scale"));
  BITMILL_RETURN_IF_ERROR(AxisOf(node, inputs[0].shape, inputs[1].shape).status());
  if (inputs.size() > 2 && inputs[2].dtype != DType::kInvalid &&
      ElementCount(inputs[2].shape) != ElementCount(inputs[1].shape)) {
    return absl::InvalidArgumentError("scale and zero point have different shapes");
  }
  return absl::OkStatus();
}

InferResult InferQuantizeLinear(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  BITMILL_RETURN_IF_ERROR(CheckZeroPoint(node, inputs));
  const bool given = inputs.size() > 2 && inputs[2].dtype != DType::kInvalid;
  constexpr int64_t kOnnxInt8 = 3;
  const bool to_int8 = AttrInt(node, "output_dtype", 0) == kOnnxInt8;
  const DType dtype = given ? inputs[2].dtype : (to_int8 ? DType::kInt8 : DType::kUInt8);
  if (dtype != DType::kUInt8 && dtype != DType::kInt8 && dtype != DType::kUInt16 &&
      dtype != DType::kInt16 && dtype != DType::kInt32) {
    return absl::UnimplementedError(absl::StrCat("quantization to ", DTypeName(dtype)));
  }
  return OneOutput(dtype, ToShape(inputs[0].shape));
}

absl::Status EvalQuantizeLinear(const Node& node, int64_t, absl::Span<const TensorView> in,
                                absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const PerAxis axis, AxisOf(node, in[0].shape, in[1].shape));
  const bool has_zero = in.size() > 2 && in[2].data != nullptr;
  const float* x = in[0].as<float>();
  const int64_t count = in[0].elements();
  DispatchNumber(out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_integral_v<T>) {
      T* to = out[0].as<T>();
      const auto low = static_cast<double>(std::numeric_limits<T>::lowest());
      const auto high = static_cast<double>(std::numeric_limits<T>::max());
      for (int64_t i = 0; i < count; ++i) {
        const int64_t c = axis.Channel(i);
        const double zero = has_zero ? NumberAt(in[2], c) : 0.0;
        const double code = static_cast<double>(std::nearbyint(x[i] / in[1].as<float>()[c])) + zero;
        to[i] = std::isnan(code) ? T{0} : static_cast<T>(std::clamp(code, low, high));
      }
    }
  });
  return absl::OkStatus();
}

InferResult InferDequantizeLinear(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(CheckZeroPoint(node, inputs));
  if (inputs[0].dtype == DType::kFloat32 || !DispatchNumber(inputs[0].dtype, [](auto) {})) {
    return absl::InvalidArgumentError(
        absl::StrCat("the input is ", DTypeName(inputs[0].dtype), ", wanted integers"));
  }
  return OneOutput(DType::kFloat32, ToShape(inputs[0].shape));
}

absl::Status EvalDequantizeLinear(const Node& node, int64_t, absl::Span<const TensorView> in,
                                  absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const PerAxis axis, AxisOf(node, in[0].shape, in[1].shape));
  const bool has_zero = in.size() > 2 && in[2].data != nullptr;
  const int64_t count = in[0].elements();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t c = axis.Channel(i);
    const double zero = has_zero ? NumberAt(in[2], c) : 0.0;
    out[0].as<float>()[i] = static_cast<float>(NumberAt(in[0], i) - zero) * in[1].as<float>()[c];
  }
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"Quant", 4, 4, 1, 1, InferQuant, EvalQuant},
    {"IntQuant", 4, 4, 1, 1, InferQuant, EvalQuant},
    {"BipolarQuant", 2, 2, 1, 1, InferBipolarQuant, EvalBipolarQuant},
    {"Trunc", 5, 6, 1, 1, InferTrunc, EvalTrunc},
    {"MultiThreshold", 2, 2, 1, 1, InferMultiThreshold, EvalMultiThreshold},
    {"QuantizeLinear", 2, 3, 1, 1, InferQuantizeLinear, EvalQuantizeLinear},
    {"DequantizeLinear", 2, 3, 1, 1, InferDequantizeLinear, EvalDequantizeLinear},
};

}  // namespace

absl::Span<const OpDef> QuantOps() { return kOps; }

}  // namespace bitmill
