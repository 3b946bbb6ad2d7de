// Element-wise operators: two inputs with broadcasting, one input, Clip, Where, Cast.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

// ---- two inputs --------------------------------------------------------------------------------

InferResult InferBinary(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  if (inputs[0].dtype != inputs[1].dtype) {
    return absl::InvalidArgumentError(absl::StrCat("inputs are ", DTypeName(inputs[0].dtype),
                                                   " and ", DTypeName(inputs[1].dtype),
                                                   ", wanted one type"));
  }
  if (!DispatchNumber(inputs[0].dtype, [](auto) {})) {
    return absl::UnimplementedError(
        absl::StrCat("arithmetic on ", DTypeName(inputs[0].dtype), " is not supported"));
  }
  BITMILL_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(inputs[0].shape, inputs[1].shape));
  return OneOutput(inputs[0].dtype, std::move(shape));
}

InferResult InferPow(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the base"));
  BITMILL_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(inputs[0].shape, inputs[1].shape));
  return OneOutput(DType::kFloat32, std::move(shape));
}

InferResult InferCompare(const Node& node, int64_t opset, absl::Span<const InputInfo> inputs) {
  BITMILL_ASSIGN_OR_RETURN(auto types, InferBinary(node, opset, inputs));
  types[0].dtype = DType::kBool;
  return types;
}

template <typename Fn>
absl::Status EvalBinary(absl::Span<const TensorView> in, absl::Span<const MutableTensorView> out) {
  const Shape a = BroadcastStrides(in[0].shape, out[0].shape);
  const Shape b = BroadcastStrides(in[1].shape, out[0].shape);
  absl::Status status;
  DispatchNumber(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    using R = decltype(Fn{}(T{}, T{}));
    if constexpr (std::is_same_v<Fn, struct Divide> && std::is_integral_v<T>) {
      const auto divisors =
          absl::MakeConstSpan(in[1].as<T>(), static_cast<size_t>(in[1].elements()));
      if (std::find(divisors.begin(), divisors.end(), T{0}) != divisors.end()) {
        status = absl::InvalidArgumentError("integer division by zero");
        return;
      }
    }
    const T* pa = in[0].as<T>();
    const T* pb = in[1].as<T>();
    R* to = out[0].as<R>();
    ForEachBroadcast(out[0].shape, a, b,
                     [&](int64_t i, int64_t j, int64_t k) { to[k] = Fn{}(pa[i], pb[j]); });
  });
  return status;
}

// Integer arithmetic wraps around, as unsigned arithmetic does.
template <typename T, typename Fn>
T Wrap(T a, T b, Fn fn) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(
        fn(static_cast<uint64_t>(static_cast<U>(a)), static_cast<uint64_t>(static_cast<U>(b))));
  } else {
    return fn(a, b);
  }
}

struct Plus {
  template <typename T>
  T operator()(T a, T b) const {
    return Wrap(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct Minus {
  template <typename T>
  T operator()(T a, T b) const {
    return Wrap(a, b, [](auto x, auto y) { return x - y; });
  }
};
struct Times {
  template <typename T>
  T operator()(T a, T b) const {
    return Wrap(a, b, [](auto x, auto y) { return x * y; });
  }
};
struct Divide {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_signed_v<T> && std::is_integral_v<T>) {
      if (b == T{-1}) return Minus{}(T{0}, a);  // the smallest number has no opposite
    }
    return static_cast<T>(a / b);
  }
};
struct Smaller {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a)) return a;
      if (std::isnan(b)) return b;
    }
    return std::min(a, b);
  }
};
struct Larger {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a)) return a;
      if (std::isnan(b)) return b;
    }
    return std::max(a, b);
  }
};
struct IsEqual {
  template <typename T>
  uint8_t operator()(T a, T b) const {
    return a == b ? 1 : 0;
  }
};
struct IsGreater {
  template <typename T>
  uint8_t operator()(T a, T b) const {
    return a > b ? 1 : 0;
  }
};
struct IsLess {
  template <typename T>
  uint8_t operator()(T a, T b) const {
    return a < b ? 1 : 0;
  }
};

template <typename Fn>
absl::Status BinaryFn(const Node&, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  return EvalBinary<Fn>(in, out);
}

absl::Status EvalPow(const Node&, int64_t, absl::Span<const TensorView> in,
                     absl::Span<const MutableTensorView> out) {
  const Shape a = BroadcastStrides(in[0].shape, out[0].shape);
  const Shape b = BroadcastStrides(in[1].shape, out[0].shape);
  const float* base = in[0].as<float>();
  float* to = out[0].as<float>();
  ForEachBroadcast(out[0].shape, a, b, [&](int64_t i, int64_t j, int64_t k) {
    to[k] = std::pow(base[i], static_cast<float>(NumberAt(in[1], j)));
  });
  return absl::OkStatus();
}

// ---- one input ---------------------------------------------------------------------------------

InferResult InferUnaryFloat(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  return OneOutput(DType::kFloat32, ToShape(inputs[0].shape));
}

InferResult InferUnaryNumber(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  if (!DispatchNumber(inputs[0].dtype, [](auto) {})) {
    return absl::UnimplementedError(
        absl::StrCat("arithmetic on ", DTypeName(inputs[0].dtype), " is not supported"));
  }
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

absl::Status EvalNeg(const Node&, int64_t, absl::Span<const TensorView> in,
                     absl::Span<const MutableTensorView> out) {
  return MapNumber(in, out, [](auto x) {
    if constexpr (std::is_floating_point_v<decltype(x)>) return -x;
    return Minus{}(decltype(x){0}, x);
  });
}

absl::Status EvalAbs(const Node&, int64_t, absl::Span<const TensorView> in,
                     absl::Span<const MutableTensorView> out) {
  return MapNumber(in, out, [](auto x) {
    using T = decltype(x);
    if constexpr (std::is_floating_point_v<T>) return std::fabs(x);
    return x < T{0} ? Minus{}(T{0}, x) : x;
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

// ---- Clip, Where, Cast -------------------------------------------------------------------------

absl::Status EvalClip(const Node& node, int64_t opset, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  const auto bound = [&](size_t index, const char* name, double fallback) {
    if (opset < 11) {
      return HasAttr(node, name) ? static_cast<double>(AttrFloat(node, name, 0)) : fallback;
    }
    return in.size() > index && in[index].data != nullptr ? NumberAt(in[index], 0) : fallback;
  };
  DispatchNumber(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    using Limits = std::numeric_limits<T>;
    constexpr bool kReal = std::is_floating_point_v<T>;
    const auto low = static_cast<T>(bound(
        1, "min", kReal ? -std::numeric_limits<double>::infinity() : double(Limits::lowest())));
    const T high_limit = kReal ? Limits::infinity() : Limits::max();
    const double high_given = bound(2, "max", std::numeric_limits<double>::infinity());
    const T high =
        high_given >= static_cast<double>(high_limit) ? high_limit : static_cast<T>(high_given);
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

InferResult InferWhere(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  if (inputs[0].dtype != DType::kBool || inputs[1].dtype != inputs[2].dtype) {
    return absl::InvalidArgumentError("wanted a BOOL condition and two inputs of one type");
  }
  if (DTypeSize(inputs[1].dtype) == 0) return absl::UnimplementedError("Where on this type");
  BITMILL_ASSIGN_OR_RETURN(const Shape part, BroadcastShapes(inputs[1].shape, inputs[2].shape));
  BITMILL_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(part, inputs[0].shape));
  return OneOutput(inputs[1].dtype, std::move(shape));
}

absl::Status EvalWhere(const Node&, int64_t, absl::Span<const TensorView> in,
                       absl::Span<const MutableTensorView> out) {
  const auto& shape = out[0].shape;
  const Shape condition = BroadcastStrides(in[0].shape, shape);
  const auto size = static_cast<size_t>(DTypeSize(out[0].dtype));
  const auto* yes = in[0].as<uint8_t>();
  auto* to = out[0].as<std::byte>();
  for (const int which : {1, 2}) {
    const auto* from = in[which].as<std::byte>();
    ForEachBroadcast(shape, condition, BroadcastStrides(in[which].shape, shape),
                     [&](int64_t c, int64_t i, int64_t k) {
                       if ((yes[c] != 0) != (which == 1)) return;
                       std::copy_n(from + static_cast<size_t>(i) * size, size,
                                   to + static_cast<size_t>(k) * size);
                     });
  }
  return absl::OkStatus();
}

constexpr struct {
  int64_t onnx;
  DType dtype;
} kCastTypes[] = {{1, DType::kFloat32}, {2, DType::kUInt8},  {3, DType::kInt8},
                  {4, DType::kUInt16},  {5, DType::kInt16},  {6, DType::kInt32},
                  {7, DType::kInt64},   {9, DType::kBool},   {11, DType::kFloat64},
                  {12, DType::kUInt32}, {13, DType::kUInt64}};

InferResult InferCast(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  if (!DispatchNumber(inputs[0].dtype, [](auto) {})) {
    return absl::UnimplementedError(
        absl::StrCat("Cast from ", DTypeName(inputs[0].dtype), " is not supported"));
  }
  const int64_t to = AttrInt(node, "to", 0);
  for (const auto& row : kCastTypes) {
    if (row.onnx == to) return OneOutput(row.dtype, ToShape(inputs[0].shape));
  }
  // Half precision is computed in single precision (the reader widens such constants).
  if (to == 10 || to == 16) return OneOutput(DType::kFloat32, ToShape(inputs[0].shape));
  return absl::UnimplementedError(absl::StrCat("Cast to ONNX element type ", to));
}

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

absl::Status EvalCast(const Node&, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  const int64_t count = in[0].elements();
  DispatchNumber(in[0].dtype, [&](auto from_zero) {
    using From = decltype(from_zero);
    const From* from = in[0].as<From>();
    if (out[0].dtype == DType::kBool) {
      for (int64_t i = 0; i < count; ++i) out[0].as<uint8_t>()[i] = from[i] != From{0} ? 1 : 0;
      return;
    }
    DispatchNumber(out[0].dtype, [&](auto to_zero) {
      using To = decltype(to_zero);
      To* to = out[0].as<To>();
      for (int64_t i = 0; i < count; ++i) to[i] = CastNumber<To>(from[i]);
    });
  });
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"Add", 2, 2, 1, 1, InferBinary, BinaryFn<Plus>},
    {"Sub", 2, 2, 1, 1, InferBinary, BinaryFn<Minus>},
    {"Mul", 2, 2, 1, 1, InferBinary, BinaryFn<Times>},
    {"Div", 2, 2, 1, 1, InferBinary, BinaryFn<Divide>},
    {"Min", 2, 2, 1, 1, InferBinary, BinaryFn<Smaller>},
    {"Max", 2, 2, 1, 1, InferBinary, BinaryFn<Larger>},
    {"Equal", 2, 2, 1, 1, InferCompare, BinaryFn<IsEqual>},
    {"Greater", 2, 2, 1, 1, InferCompare, BinaryFn<IsGreater>},
    {"Less", 2, 2, 1, 1, InferCompare, BinaryFn<IsLess>},
    {"Pow", 2, 2, 1, 1, InferPow, EvalPow},
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
    {"Clip", 1, 3, 1, 1, InferUnaryNumber, EvalClip},
    {"Where", 3, 3, 1, 1, InferWhere, EvalWhere},
    {"Cast", 1, 1, 1, 1, InferCast, EvalCast},
};

}  // namespace

absl::Span<const OpDef> ArithmeticOps() { return kOps; }

}  // namespace bitmill
