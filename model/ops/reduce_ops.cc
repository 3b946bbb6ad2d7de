// Reductions along axes, ArgMax, ArgMin and TopK.
#include <algorithm>
#include <limits>
#include <numeric>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

// Which axes are reduced; empty axes mean all, or none where noop_with_empty_axes is set.
absl::StatusOr<absl::InlinedVector<bool, 6>> ReducedAxes(
    const Node& node, size_t rank, const std::optional<std::vector<int64_t>>& axes) {
  absl::InlinedVector<bool, 6> reduced(rank, false);
  if (!axes || axes->empty()) {
    if (AttrInt(node, "noop_with_empty_axes", 0) == 0) reduced.assign(rank, true);
    return reduced;
  }
  for (const int64_t given : *axes) {
    BITMILL_ASSIGN_OR_RETURN(const int64_t axis, NormalizeAxis(given, static_cast<int64_t>(rank)));
    if (rank > 0) reduced[static_cast<size_t>(axis)] = true;
  }
  return reduced;
}

InferResult InferReduce(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  BITMILL_ASSIGN_OR_RETURN(const auto axes, AxesOf(node, inputs, 1));
  BITMILL_ASSIGN_OR_RETURN(const auto reduced, ReducedAxes(node, inputs[0].shape.size(), axes));
  const bool keep = AttrInt(node, "keepdims", 1) != 0;
  Shape shape;
  for (size_t d = 0; d < reduced.size(); ++d) {
    if (!reduced[d])
      shape.push_back(inputs[0].shape[d]);
    else if (keep)
      shape.push_back(1);
  }
  return OneOutput(DType::kFloat32, std::move(shape));
}

std::optional<std::vector<int64_t>> AxesAtRun(const Node& node, absl::Span<const TensorView> in) {
  if (in.size() > 1 && in[1].data != nullptr) {
    std::vector<int64_t> axes;
    axes.reserve(static_cast<size_t>(in[1].elements()));
    for (int64_t i = 0; i < in[1].elements(); ++i) {
      axes.push_back(static_cast<int64_t>(NumberAt(in[1], i)));
    }
    return axes;
  }
  if (const auto* axes = AttrInts(node, "axes")) return *axes;
  return std::nullopt;
}

// The output is walked once for each input element; `fold` combines, `finish` sees the count.
template <typename Fold, typename Finish>
absl::Status Reduce(const Node& node, absl::Span<const TensorView> in,
                    absl::Span<const MutableTensorView> out, float start, Fold fold,
                    Finish finish) {
  const auto& shape = in[0].shape;
  BITMILL_ASSIGN_OR_RETURN(const auto reduced,
                           ReducedAxes(node, shape.size(), AxesAtRun(node, in)));
  Shape strides(shape.size(), 0);
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    if (reduced[d]) continue;
    strides[d] = step;
    step *= shape[d];
  }
  float* to = out[0].as<float>();
  const int64_t results = out[0].elements();
  std::fill_n(to, results, start);
  const float* x = in[0].as<float>();
  ForEachBroadcast(shape, strides, strides,
                   [&](int64_t o, int64_t, int64_t i) { to[o] = fold(to[o], x[i]); });
  const int64_t count = results > 0 ? in[0].elements() / results : 0;
  for (int64_t i = 0; i < results; ++i) to[i] = finish(to[i], static_cast<float>(count));
  return absl::OkStatus();
}

absl::Status EvalReduceMean(const Node& node, int64_t, absl::Span<const TensorView> in,
                            absl::Span<const MutableTensorView> out) {
  return Reduce(
      node, in, out, 0.0F, [](float a, float b) { return a + b; },
      [](float sum, float count) { return sum / count; });
}

absl::Status EvalReduceSum(const Node& node, int64_t, absl::Span<const TensorView> in,
                           absl::Span<const MutableTensorView> out) {
  return Reduce(
      node, in, out, 0.0F, [](float a, float b) { return a + b; },
      [](float sum, float) { return sum; });
}

absl::Status EvalReduceMax(const Node& node, int64_t, absl::Span<const TensorView> in,
                           absl::Span<const MutableTensorView> out) {
  return Reduce(
      node, in, out, -std::numeric_limits<float>::infinity(),
      [](float a, float b) { return b > a ? b : a; }, [](float best, float) { return best; });
}

absl::Status EvalReduceMin(const Node& node, int64_t, absl::Span<const TensorView> in,
                           absl::Span<const MutableTensorView> out) {
  return Reduce(
      node, in, out, std::numeric_limits<float>::infinity(),
      [](float a, float b) { return b < a ? b : a; }, [](float best, float) { return best; });
}

// ---- ArgMax, ArgMin, TopK ----------------------------------------------------------------------

struct AxisView {
  int64_t outer = 1, size = 1, inner = 1;
};

absl::StatusOr<AxisView> ViewAxis(absl::Span<const int64_t> shape, int64_t axis) {
  BITMILL_ASSIGN_OR_RETURN(const int64_t at,
                           NormalizeAxis(axis, static_cast<int64_t>(shape.size())));
  if (shape.empty()) return absl::InvalidArgumentError("the input is a scalar");
  AxisView view;
  view.outer = ElementCount(shape.first(static_cast<size_t>(at)));
  view.size = shape[static_cast<size_t>(at)];
  view.inner = ElementCount(shape.subspan(static_cast<size_t>(at) + 1));
  if (view.size < 1) return absl::InvalidArgumentError("the axis is empty");
  return view;
}

InferResult InferArgMax(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  if (!DispatchNumber(inputs[0].dtype, [](auto) {})) {
    return absl::UnimplementedError(absl::StrCat("ArgMax of ", DTypeName(inputs[0].dtype)));
  }
  const int64_t axis = AttrInt(node, "axis", 0);
  BITMILL_RETURN_IF_ERROR(ViewAxis(inputs[0].shape, axis).status());
  BITMILL_ASSIGN_OR_RETURN(const int64_t at,
                           NormalizeAxis(axis, static_cast<int64_t>(inputs[0].shape.size())));
  Shape shape = ToShape(inputs[0].shape);
  if (AttrInt(node, "keepdims", 1) != 0)
    shape[static_cast<size_t>(at)] = 1;
  else
    shape.erase(shape.begin() + at);
  return OneOutput(DType::kInt64, std::move(shape));
}

template <bool kMin>
absl::Status EvalArgMax(const Node& node, int64_t, absl::Span<const TensorView> in,
                        absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const AxisView view, ViewAxis(in[0].shape, AttrInt(node, "axis", 0)));
  const bool last = AttrInt(node, "select_last_index", 0) != 0;
  DispatchNumber(in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t o = 0; o < view.outer; ++o) {
      for (int64_t i = 0; i < view.inner; ++i) {
        const T* x = in[0].as<T>() + o * view.size * view.inner + i;
        int64_t best = 0;
        for (int64_t k = 1; k < view.size; ++k) {
          const T a = x[k * view.inner];
          const T b = x[best * view.inner];
          const bool better = kMin ? a < b : a > b;
          if (better || (last && a == b)) best = k;
        }
        out[0].as<int64_t>()[o * view.inner + i] = best;
      }
    }
  });
  return absl::OkStatus();
}

absl::StatusOr<int64_t> TopKCount(const Node& node, int64_t opset,
                                  absl::Span<const InputInfo> inputs) {
  if (opset < 10) return AttrInt(node, "k", -1);
  if (inputs.size() < 2) return absl::InvalidArgumentError("k is missing");
  BITMILL_ASSIGN_OR_RETURN(const auto k, ConstantInts(inputs[1].constant, "k"));
  if (k.size() != 1) return absl::InvalidArgumentError("k must hold one value");
  return k[0];
}

InferResult InferTopK(const Node& node, int64_t opset, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  const int64_t axis = AttrInt(node, "axis", -1);
  BITMILL_ASSIGN_OR_RETURN(const AxisView view, ViewAxis(inputs[0].shape, axis));
  BITMILL_ASSIGN_OR_RETURN(const int64_t k, TopKCount(node, opset, inputs));
  if (k < 1 || k > view.size) {
    return absl::InvalidArgumentError(absl::StrCat("k is ", k, ", the axis has ", view.size));
  }
  BITMILL_ASSIGN_OR_RETURN(const int64_t at,
                           NormalizeAxis(axis, static_cast<int64_t>(inputs[0].shape.size())));
  Shape shape = ToShape(inputs[0].shape);
  shape[static_cast<size_t>(at)] = k;
  std::vector<TensorType> types;
  types.push_back({DType::kFloat32, shape});
  types.push_back({DType::kInt64, shape});
  return types;
}

// Selection by repeated scans: no scratch memory, and k is small in networks. Equal values come in
// the order of their index, as ONNX wants.
absl::Status EvalTopK(const Node& node, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  const int64_t axis = AttrInt(node, "axis", -1);
  const bool largest = AttrInt(node, "largest", 1) != 0;
  BITMILL_ASSIGN_OR_RETURN(const AxisView view, ViewAxis(in[0].shape, axis));
  // Either output may be absent.
  BITMILL_ASSIGN_OR_RETURN(const AxisView to,
                           ViewAxis(out[0].data != nullptr ? out[0].shape : out[1].shape, axis));
  for (int64_t o = 0; o < view.outer; ++o) {
    for (int64_t i = 0; i < view.inner; ++i) {
      const float* x = in[0].as<float>() + o * view.size * view.inner + i;
      const int64_t base = o * to.size * to.inner + i;
      int64_t previous = -1;
      for (int64_t k = 0; k < to.size; ++k) {
        int64_t best = -1;
        for (int64_t j = 0; j < view.size; ++j) {
          const float value = x[j * view.inner];
          if (previous >= 0) {
            const float bound = x[previous * view.inner];
            const bool beyond = largest ? value < bound : value > bound;
            if (!beyond && !(value == bound && j > previous)) continue;
          }
          const bool better =
              best < 0 || (largest ? value > x[best * view.inner] : value < x[best * view.inner]);
          if (better) best = j;
        }
        if (best < 0) return absl::InvalidArgumentError("TopK of values that are not numbers");
        if (out[0].data != nullptr) out[0].as<float>()[base + k * to.inner] = x[best * view.inner];
        if (out.size() > 1 && out[1].data != nullptr) {
          out[1].as<int64_t>()[base + k * to.inner] = best;
        }
        previous = best;
      }
    }
  }
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"ReduceMean", 1, 2, 1, 1, InferReduce, EvalReduceMean},
    {"ReduceSum", 1, 2, 1, 1, InferReduce, EvalReduceSum},
    {"ReduceMax", 1, 2, 1, 1, InferReduce, EvalReduceMax},
    {"ReduceMin", 1, 2, 1, 1, InferReduce, EvalReduceMin},
    {"ArgMax", 1, 1, 1, 1, InferArgMax, EvalArgMax<false>},
    {"ArgMin", 1, 1, 1, 1, InferArgMax, EvalArgMax<true>},
    {"TopK", 1, 2, 1, 2, InferTopK, EvalTopK},
};

}  // namespace

absl::Span<const OpDef> ReduceOps() { return kOps; }

}  // namespace bitmill
