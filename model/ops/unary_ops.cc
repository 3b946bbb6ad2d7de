// Element-wise operators of one input (PRelu and Clip with their parameters), and Cast.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/half.h"
#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

InferResult InferUnaryFloat(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  return OneOutput(DType::kFloat32, ToShape(inputs[0].shape));
}

InferResult InferUnaryNumber(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantNumber(inputs[0], "the input"));
  return OneOutput(inputs[0].dtype, ToShape(inputs[0].shape));
}

template <typename Fn>
absl::Status MapFloat(absl::Span<const TensorView> in, absl::Span<const MutableTensorView> out,
                      Fn fn) {
  const float* from = in[0].as<float>();
  float* to = out[0].as<float>();
  const int64_t count = in[0].elements();
  for (int64_t i = 0; i < count; ++i) to[i] = fn(from[i]);
  return absl::OkStatus();
}

template <float (*kFn)(float)>
absl::Status UnaryFn(const Node&, int64_t, absl::Span<const TensorView> in,
                     absl::Span<const MutableTensorView> out) {
  return MapFloat(in, out, kFn);
}

float Sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }
float Exp(float x) { return std::exp(x); }
float Log(float x) { return std::log(x); }
float Sqrt(float x) { return std::sqrt(x); }
float Tanh(float x) { return std::tanh(x); }
float Floor(float x) { return std::floor(x); }
float Ceil(float x) { return std::ceil(x); }
float Round(float x) { return std::nearbyint(x); }
float Reciprocal(float x) { return 1.0F / x; }

// max(x, 0) and the like on any number type.
template <typename Fn>
absl::Status MapNumber(absl::Span<const TensorView> in, absl::Span<const MutableTensorView> out,
                       Fn fn) {
  DispatchNumber(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = in[0].as<T>();
    T* to = out[0].as<T>();
    const int64_t count = in[0].elements();
    for (int64_t i = 0; i < count; ++i) to[i] = fn(from[i]);
  });
  return absl::OkStatus();
}

absl::Status EvalRelu(const Node&, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  return MapNumber(in, out, [](auto x) { return x < decltype(x){0} ? decltype(x){0} : x; });
}

// The smallest integer has no opposite and stays as it is.
template <typename T>
T Negate(T x) {
  if constexpr (std::is_floating_point_v<T>) {
    return -x;
  } else {
    return static_cast<T>(uint64_t{0} - static_cast<uint64_t>(x));
  }
}

absl::Status EvalNeg(const Node&, int64_t, absl::Span<const TensorView> in,
                     absl::Span<const MutableTensorView> out) {
  return MapNumber(in, out, [](auto x) { return Negate(x); });
}

absl::Status EvalAbs(const Node&, int64_t, absl::Span<const TensorView> in,
                     absl::Span<const MutableTensorView> out) {
  return MapNumber(in, out, [](auto x) {
    using T = decltype(x);
    if constexpr (std::is_floating_point_v<T>) return std::fabs(x);
    return x < T{0} ? Negate(x) : x;
  });
}

absl::Status EvalSign(const Node&, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  return MapNumber(in, out, [](auto x) {
    using T = decltype(x);
    if (x > T{0}) return T{1};
    if (x < T{0}) return static_cast<T>(T{0} - T{1});
    return x == T{0} ? T{0} : x;  // NaN stays NaN
  });
}

absl::Status EvalLeakyRelu(const Node& node, int64_t, absl::Span<const TensorView> in,
                           absl::Span<const MutableTensorView> out) {
  const float alpha = AttrFloat(node, "alpha", 0.01F);
  return MapFloat(in, out, [alpha](float x) { return x < 0.0F ? alpha * x : x; });
}

absl::Status EvalHardSigmoid(const Node& node, int64_t, absl::Span<const TensorView> in,
                             absl::Span<const MutableTensorView> out) {
  const float alpha = AttrFloat(node, "alpha", 0.2F);
  const float beta = AttrFloat(node, "beta", 0.5F);
  return MapFloat(in, out,
                  [=](float x) { return std::max(0.0F, std::min(1.0F, alpha * x + beta)); });
}

absl::Status EvalHardTanh(const Node& node, int64_t, absl::Span<const TensorView> in,
                          absl::Span<const MutableTensorView> out) {
  const float low = AttrFloat(node, "min_val", -1.0F);
  const float high = AttrFloat(node, "max_val", 1.0F);
  return MapFloat(in, out, [=](float x) { return x < low ? low : (x > high ? high : x); });
}

InferResult InferPRelu(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[1], "the slope"));
  BITMILL_ASSIGN_OR_RETURN(const Shape shape, BroadcastShapes(inputs[0].shape, inputs[1].shape));
  if (shape != ToShape(inputs[0].shape)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the slope's shape ", ShapeToString(inputs[1].shape), " does not broadcast to the input"));
  }
  return OneOutput(DType::kFloat32, shape);
}

absl::Status EvalPRelu(const Node&, int64_t, absl::Span<const TensorView> in,
                       absl::Span<const MutableTensorView> out) {
  const float* x = in[0].as<float>();
  const float* slope = in[1].as<float>();
  float* to = out[0].as<float>();
  ForEachBroadcast(
      out[0].shape, BroadcastStrides(in[0].shape, out[0].shape),
      BroadcastStrides(in[1].shape, out[0].shape),
      [&](int64_t i, int64_t j, int64_t k) { to[k] = x[i] < 0.0F ? slope[j] * x[i] : x[i]; });
  return absl::OkStatus();
}

// ---- Clip, Cast -------------------------------------------------------------------------

// A number outside the target's range gives the nearest end of it; NaN gives 0.
template <typename To, typename From>
To CastNumber(From x) {
  if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    if (std::isnan(x)) return 0;
    if (x <= static_cast<From>(std::numeric_limits<To>::lowest())) {
      return std::numeric_limits<To>::lowest();
    }
    if (x >= static_cast<From>(std::numeric_limits<To>::max())) {
      return std::numeric_limits<To>::max();
    }
  }
  return static_cast<To>(x);
}

InferResult InferClip(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantNumber(inputs[0], "the input"));
  for (const InputInfo& bound : inputs.subspan(1)) {
    if (bound.dtype == DType::kInvalid) continue;
    if (bound.dtype != inputs[0].dtype || ElementCount(bound.shape) != 1) {
      return absl::InvalidArgumentError("a bound must be one element of the input's type");
    }
  }
  return OneOutput(inputs[0].dtype, ToShape(inputs[0].shape));
}

absl::Status EvalClip(const Node& node, int64_t opset, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  DispatchNumber(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto bound = [&](size_t index, const char* name, T fallback) {
      if (opset < 11) {
        return HasAttr(node, name) ? CastNumber<T>(AttrFloat(node, name, 0)) : fallback;
      }
      return in.size() > index && in[index].data != nullptr ? *in[index].as<T>() : fallback;
    };
    using Limits = std::numeric_limits<T>;
    const T low = bound(1, "min", Limits::has_infinity ? -Limits::infinity() : Limits::lowest());
    const T high = bound(2, "max", Limits::has_infinity ? Limits::infinity() : Limits::max());
    const T* from = in[0].as<T>();
    T* to = out[0].as<T>();
    const int64_t count = in[0].elements();
    for (int64_t i = 0; i < count; ++i) {
      T x = from[i];
      if (x < low) x = low;
      if (x > high) x = high;
      to[i] = x;
    }
  });
  return absl::OkStatus();
}

bool IsHalf(DType dtype) { return dtype == DType::kFloat16 || dtype == DType::kBFloat16; }

constexpr struct {
  int64_t onnx;
  DType dtype;
} kCastTypes[] = {{1, DType::kFloat32},  {2, DType::kUInt8},   {3, DType::kInt8},
                  {4, DType::kUInt16},   {5, DType::kInt16},   {6, DType::kInt32},
                  {7, DType::kInt64},    {9, DType::kBool},    {10, DType::kFloat16},
                  {11, DType::kFloat64}, {12, DType::kUInt32}, {13, DType::kUInt64},
                  {16, DType::kBFloat16}};

InferResult InferCast(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  if (!IsHalf(inputs[0].dtype)) BITMILL_RETURN_IF_ERROR(WantNumber(inputs[0], "the input"));
  const int64_t to = AttrInt(node, "to", 0);
  for (const auto& row : kCastTypes) {
    if (row.onnx == to) return OneOutput(row.dtype, ToShape(inputs[0].shape));
  }
  return absl::UnimplementedError(absl::StrCat("Cast to ONNX element type ", to));
}

// The 16-bit floating-point types occur at the edge of a graph only, from and to float32 (the
// reader casts there); other pairs go through it.
float HalfAt(const TensorView& tensor, int64_t i) {
  const uint16_t half = tensor.as<uint16_t>()[i];
  return tensor.dtype == DType::kFloat16 ? HalfToFloat(half) : BFloat16ToFloat(half);
}

template <typename From>
void CastFrom(const MutableTensorView& out, int64_t count, From from) {
  if (out.dtype == DType::kBool) {
    for (int64_t i = 0; i < count; ++i) out.as<uint8_t>()[i] = from(i) != 0 ? 1 : 0;
  } else if (IsHalf(out.dtype)) {
    const bool half = out.dtype == DType::kFloat16;
    for (int64_t i = 0; i < count; ++i) {
      const auto value = static_cast<float>(from(i));
      out.as<uint16_t>()[i] = half ? FloatToHalf(value) : FloatToBFloat16(value);
    }
  } else {
    DispatchNumber(out.dtype, [&](auto zero) {
      using To = decltype(zero);
      for (int64_t i = 0; i < count; ++i) out.as<To>()[i] = CastNumber<To>(from(i));
    });
  }
}

absl::Status EvalCast(const Node&, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  const int64_t count = in[0].elements();
  if (IsHalf(in[0].dtype)) {
    CastFrom(out[0], count, [&](int64_t i) { return HalfAt(in[0], i); });
    return absl::OkStatus();
  }
  DispatchNumber(in[0].dtype, [&](auto zero) {
    using From = decltype(zero);
    CastFrom(out[0], count, [from = in[0].as<From>()](int64_t i) { return from[i]; });
  });
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"Relu", 1, 1, 1, 1, InferUnaryNumber, EvalRelu},
    {"Neg", 1, 1, 1, 1, InferUnaryNumber, EvalNeg},
    {"Abs", 1, 1, 1, 1, InferUnaryNumber, EvalAbs},
    {"Sign", 1, 1, 1, 1, InferUnaryNumber, EvalSign},
    {"Sigmoid", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Sigmoid>},
    {"Tanh", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Tanh>},
    {"Exp", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Exp>},
    {"Log", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Log>},
    {"Sqrt", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Sqrt>},
    {"Floor", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Floor>},
    {"Ceil", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Ceil>},
    {"Round", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Round>},
    {"Reciprocal", 1, 1, 1, 1, InferUnaryFloat, UnaryFn<Reciprocal>},
    {"LeakyRelu", 1, 1, 1, 1, InferUnaryFloat, EvalLeakyRelu},
    {"HardSigmoid", 1, 1, 1, 1, InferUnaryFloat, EvalHardSigmoid},
    {"HardTanh", 1, 1, 1, 1, InferUnaryFloat, EvalHardTanh},
    {"PRelu", 2, 2, 1, 1, InferPRelu, EvalPRelu},
    {"Clip", 1, 3, 1, 1, InferClip, EvalClip},
    {"Cast", 1, 1, 1, 1, InferCast, EvalCast},
};

}  // namespace

absl::Span<const OpDef> UnaryOps() { return kOps; }

}  // namespace bitmill
