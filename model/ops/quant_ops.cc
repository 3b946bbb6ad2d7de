// Quantization operators: QONNX (Quant, BipolarQuant, Trunc, MultiThreshold; the definitions are
// those of the qonnx package and of FINN) and ONNX (QuantizeLinear, DequantizeLinear).
#include <algorithm>
#include <cmath>
#include <string>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

bool ParseRounding(const std::string& name, float (**round)(float)) {
  std::string upper = name;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (upper == "ROUND" || upper == "HALF_EVEN")
    *round = [](float x) { return std::nearbyint(x); };
  else if (upper == "FLOOR")
    *round = [](float x) { return std::floor(x); };
  else if (upper == "CEIL")
    *round = [](float x) { return std::ceil(x); };
  else if (upper == "ROUND_TO_ZERO" || upper == "DOWN")
    *round = [](float x) { return std::trunc(x); };
  else
    return false;
  return true;
}

absl::Status CheckRounding(const Node& node, const char* fallback) {
  float (*round)(float) = nullptr;
  const std::string mode = AttrString(node, "rounding_mode", fallback);
  if (ParseRounding(mode, &round)) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      "rounding_mode '", mode, "'; ROUND, FLOOR, CEIL and ROUND_TO_ZERO are supported"));
}

// Scale, zero point and bit width must be known and sensible when the model is loaded.
absl::Status CheckParameters(absl::Span<const InputInfo> inputs, size_t bits_index) {
  for (size_t i = 1; i < inputs.size(); ++i) {
    if (inputs[i].constant == nullptr) {
      return absl::UnimplementedError(
          absl::StrCat("input ", i, " of a quantizer must be a constant"));
    }
  }
  for (const size_t i : {size_t{1}}) {
    const Tensor& scale = *inputs[i].constant;
    for (int64_t k = 0; k < scale.elements(); ++k) {
      const double value = NumberAt(scale.view(), k);
      if (!(value > 0) || !std::isfinite(value)) {
        return absl::InvalidArgumentError(absl::StrCat("a scale is ", value, ", wanted above 0"));
      }
    }
  }
  if (bits_index < inputs.size()) {
    const Tensor& bits = *inputs[bits_index].constant;
    for (int64_t k = 0; k < bits.elements(); ++k) {
      const double value = NumberAt(bits.view(), k);
      if (!(value >= 1) || value > 32 || value != std::floor(value)) {
        return absl::InvalidArgumentError(
            absl::StrCat("a bit width is ", value, ", wanted a whole number from 1 to 32"));
      }
    }
    if (bits.elements() != 1) {
      return absl::UnimplementedError("a bit width a channel is not supported");
    }
  }
  return absl::OkStatus();
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
  BITMILL_RETURN_IF_ERROR(CheckParameters(inputs, 3));
  return SameAsFirst(inputs);
}

absl::Status EvalQuant(const Node& node, int64_t, absl::Span<const TensorView> in,
                       absl::Span<const MutableTensorView> out) {
  const bool is_signed = AttrInt(node, "signed", 1) != 0;
  const bool narrow = AttrInt(node, "narrow", 0) != 0;
  float (*round)(float) = nullptr;
  ParseRounding(AttrString(node, "rounding_mode", "ROUND"), &round);
  const int bits = static_cast<int>(NumberAt(in[3], 0));
  const double half = std::ldexp(1.0, bits - 1);
  const auto low = static_cast<float>(is_signed ? -half + (narrow ? 1 : 0) : 0.0);
  const auto high =
      static_cast<float>(is_signed ? half - 1 : std::ldexp(1.0, bits) - 1 - (narrow ? 1 : 0));
  const bool bipolar = is_signed && bits == 1;
  const float* x = in[0].as<float>();
  float* to = out[0].as<float>();
  const Shape scale_strides = BroadcastStrides(in[1].shape, out[0].shape);
  const Shape zero_strides = BroadcastStrides(in[2].shape, out[0].shape);
  ForEachBroadcast(out[0].shape, scale_strides, zero_strides, [&](int64_t s, int64_t z, int64_t i) {
    const auto scale = static_cast<float>(NumberAt(in[1], s));
    const auto zero = static_cast<float>(NumberAt(in[2], z));
    const float scaled = x[i] / scale + zero;
    float code;
    if (bipolar) {
      code = scaled >= 0.0F ? 1.0F : -1.0F;
    } else {
      code = scaled;
      if (code < low) code = low;
      if (code > high) code = high;
      code = round(code);
    }
    to[i] = (code - zero) * scale;
  });
  return absl::OkStatus();
}

InferResult InferBipolarQuant(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(CheckParameters(inputs, 99));
  return SameAsFirst(inputs);
}

absl::Status EvalBipolarQuant(const Node&, int64_t, absl::Span<const TensorView> in,
                              absl::Span<const MutableTensorView> out) {
  const float* x = in[0].as<float>();
  float* to = out[0].as<float>();
  const Shape scale_strides = BroadcastStrides(in[1].shape, out[0].shape);
  ForEachBroadcast(out[0].shape, scale_strides, scale_strides, [&](int64_t s, int64_t, int64_t i) {
    const auto scale = static_cast<float>(NumberAt(in[1], s));
    to[i] = x[i] >= 0.0F ? scale : -scale;
  });
  return absl::OkStatus();
}

// Trunc(x, scale, zero_point, in_bits, out_bits): drops the low in_bits - out_bits bits.
InferResult InferTrunc(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(CheckRounding(node, "FLOOR"));
  BITMILL_RETURN_IF_ERROR(CheckParameters(inputs, 3));
  BITMILL_RETURN_IF_ERROR(CheckParameters(inputs, 4));
  if (NumberAt(inputs[3].constant->view(), 0) < NumberAt(inputs[4].constant->view(), 0)) {
    return absl::InvalidArgumentError("Trunc to more bits than it is given");
  }
  return SameAsFirst(inputs);
}

absl::Status EvalTrunc(const Node& node, int64_t, absl::Span<const TensorView> in,
                       absl::Span<const MutableTensorView> out) {
  float (*round)(float) = nullptr;
  ParseRounding(AttrString(node, "rounding_mode", "FLOOR"), &round);
  const auto drop = static_cast<int>(NumberAt(in[3], 0) - NumberAt(in[4], 0));
  const auto divisor = static_cast<float>(std::ldexp(1.0, drop));
  const float* x = in[0].as<float>();
  float* to = out[0].as<float>();
  ForEachBroadcast(out[0].shape, BroadcastStrides(in[1].shape, out[0].shape),
                   BroadcastStrides(in[2].shape, out[0].shape),
                   [&](int64_t s, int64_t z, int64_t i) {
                     const auto scale = static_cast<float>(NumberAt(in[1], s));
                     const auto zero = static_cast<float>(NumberAt(in[2], z));
                     const float code = std::nearbyint(x[i] / scale + zero);
                     to[i] = (round(code / divisor) - zero) * scale;
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
  if (inputs[1].constant == nullptr) {
    return absl::UnimplementedError("thresholds must be constant");
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
  const DType dtype = given ? inputs[2].dtype : DType::kUInt8;
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
    {"Trunc", 5, 5, 1, 1, InferTrunc, EvalTrunc},
    {"MultiThreshold", 2, 2, 1, 1, InferMultiThreshold, EvalMultiThreshold},
    {"QuantizeLinear", 2, 3, 1, 1, InferQuantizeLinear, EvalQuantizeLinear},
    {"DequantizeLinear", 2, 3, 1, 1, InferDequantizeLinear, EvalDequantizeLinear},
};

}  // namespace

absl::Span<const OpDef> QuantOps() { return kOps; }

}  // namespace bitmill
