// Element-wise operators of two or more inputs, with broadcasting.
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
  BITMILL_RETURN_IF_ERROR(WantNumber(inputs[0], "an input"));
  BITMILL_ASSIGN_OR_RETURN(Shape shape, BroadcastShapes(inputs[0].shape, inputs[1].shape));
  return OneOutput(inputs[0].dtype, std::move(shape));
}

InferResult InferPow(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the base"));
  BITMILL_RETURN_IF_ERROR(WantNumber(inputs[1], "the exponent"));
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
  DispatchNumber(in[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    using R = decltype(Fn{}(T{}, T{}));
    const T* pa = in[0].as<T>();
    const T* pb = in[1].as<T>();
    R* to = out[0].as<R>();
    ForEachBroadcast(out[0].shape, a, b,
                     [&](int64_t i, int64_t j, int64_t k) { to[k] = Fn{}(pa[i], pb[j]); });
  });
  return absl::OkStatus();
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

// Min and Max of one or more inputs: the output holds the result so far.
InferResult InferVariadic(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  Shape shape = ToShape(inputs[0].shape);
  for (const InputInfo& input : inputs) {
    const InputInfo pair[] = {inputs[0], input};
    BITMILL_RETURN_IF_ERROR(InferBinary({}, 0, pair).status());
    BITMILL_ASSIGN_OR_RETURN(shape, BroadcastShapes(shape, input.shape));
  }
  return OneOutput(inputs[0].dtype, std::move(shape));
}

template <typename Fn>
absl::Status VariadicFn(const Node&, int64_t, absl::Span<const TensorView> in,
                        absl::Span<const MutableTensorView> out) {
  CopyStrided(in[0], out[0], 0, BroadcastStrides(in[0].shape, out[0].shape));
  for (const TensorView& operand : in.subspan(1)) {
    const Shape strides = BroadcastStrides(operand.shape, out[0].shape);
    DispatchNumber(operand.dtype, [&](auto zero) {
      using T = decltype(zero);
      const T* from = operand.as<T>();
      T* to = out[0].as<T>();
      ForEachBroadcast(out[0].shape, strides, strides,
                       [&](int64_t i, int64_t, int64_t k) { to[k] = Fn{}(to[k], from[i]); });
    });
  }
  return absl::OkStatus();
}

template <typename Fn>
absl::Status BinaryFn(const Node&, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  return EvalBinary<Fn>(in, out);
}

absl::Status EvalDiv(const Node&, int64_t, absl::Span<const TensorView> in,
                     absl::Span<const MutableTensorView> out) {
  bool by_zero = false;
  DispatchNumber(in[1].dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_integral_v<T>) {
      const T* divisors = in[1].as<T>();
      by_zero =
          std::find(divisors, divisors + in[1].elements(), T{0}) != divisors + in[1].elements();
    }
  });
  if (by_zero) return absl::InvalidArgumentError("integer division by zero");
  return EvalBinary<Divide>(in, out);
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

constexpr OpDef kOps[] = {
    {"Add", 2, 2, 1, 1, InferBinary, BinaryFn<Plus>},
    {"Sub", 2, 2, 1, 1, InferBinary, BinaryFn<Minus>},
    {"Mul", 2, 2, 1, 1, InferBinary, BinaryFn<Times>},
    {"Div", 2, 2, 1, 1, InferBinary, EvalDiv},
    {"Min", 1, 64, 1, 1, InferVariadic, VariadicFn<Smaller>},
    {"Max", 1, 64, 1, 1, InferVariadic, VariadicFn<Larger>},
    {"Equal", 2, 2, 1, 1, InferCompare, BinaryFn<IsEqual>},
    {"Greater", 2, 2, 1, 1, InferCompare, BinaryFn<IsGreater>},
    {"Less", 2, 2, 1, 1, InferCompare, BinaryFn<IsLess>},
    {"Pow", 2, 2, 1, 1, InferPow, EvalPow},
    {"Where", 3, 3, 1, 1, InferWhere, EvalWhere},
};

}  // namespace

absl::Span<const OpDef> ArithmeticOps() { return kOps; }

}  // namespace bitmill
