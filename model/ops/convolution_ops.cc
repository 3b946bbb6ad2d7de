// Convolutions: float, and the integer forms of ONNX. Plain loops over strides, so that both
// layouts (channels on axis 1, or last in qonnx.custom_op.channels_last) share them.
#include <algorithm>
#include <cmath>

#include "model/ops/integer_math.h"
#include "model/ops/op_support.h"
#include "model/ops/ops.h"
#include "model/ops/window.h"

namespace bitmill {
namespace {

bool ChannelsLast(const Node& node) { return node.domain == "qonnx.custom_op.channels_last"; }

// Sizes and strides (in elements) of one convolution.
struct Geometry {
  SlidingWindow window;
  int64_t batch = 1, channels = 1, filters = 1, groups = 1;
  bool channels_last = false;
  Shape out_shape;

  int64_t In(int64_t n, int64_t c, int64_t y, int64_t x) const {
    const auto& size = window.input;
    if (channels_last) return ((n * size[0] + y) * size[1] + x) * channels + c;
    return ((n * channels + c) * size[0] + y) * size[1] + x;
  }
  int64_t Out(int64_t n, int64_t o, int64_t y, int64_t x) const {
    const auto& size = window.output;
    if (channels_last) return ((n * size[0] + y) * size[1] + x) * filters + o;
    return ((n * filters + o) * size[0] + y) * size[1] + x;
  }
};

absl::StatusOr<Geometry> GeometryOf(const Node& node, absl::Span<const int64_t> x,
                                    absl::Span<const int64_t> w) {
  if (x.size() < 3 || x.size() > 4) {
    return absl::UnimplementedError(
        absl::StrCat("a convolution of ", ShapeToString(x), "; rank 3 and 4 are supported"));
  }
  if (w.size() != x.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights of shape ", ShapeToString(w), " for an input of ", ShapeToString(x)));
  }
  Geometry g;
  g.channels_last = ChannelsLast(node);
  g.batch = x[0];
  g.channels = g.channels_last ? x.back() : x[1];
  g.filters = w[0];
  g.groups = AttrInt(node, "group", 1);
  if (g.groups < 1 || g.groups > g.channels || g.channels % g.groups != 0 ||
      g.filters % g.groups != 0 || w[1] != g.channels / g.groups) {
    return absl::InvalidArgumentError(absl::StrCat("weights of shape ", ShapeToString(w), " and ",
                                                   g.groups, " groups for ", g.channels,
                                                   " channels"));
  }
  BITMILL_ASSIGN_OR_RETURN(
      g.window, WindowOf(node, x.subspan(g.channels_last ? 1 : 2, x.size() - 2), w.subspan(2)));
  g.out_shape = {g.batch};
  if (!g.channels_last) g.out_shape.push_back(g.filters);
  for (size_t d = 4 - x.size(); d < 2; ++d) g.out_shape.push_back(g.window.output[d]);
  if (g.channels_last) g.out_shape.push_back(g.filters);
  return g;
}

// Indices k in [0, count) for which 0 <= first + k * step < size.
struct IndexRange {
  int64_t begin = 0, end = 0;
};
IndexRange IndicesInside(int64_t first, int64_t step, int64_t size, int64_t count) {
  const auto ceil_div = [step](int64_t x) { return x <= 0 ? 0 : (x - 1) / step + 1; };
  return {std::min(count, ceil_div(-first)), std::min(count, ceil_div(size - first))};
}

// out[n][o][y][x] = finish(o, output index, sum of value(input index) * weight(o, weight index)),
// padding is 0. Sums of a stretch of neighbouring outputs grow side by side, each in the order
// channel, row, column of its window.
template <typename Acc, typename Value, typename Weight, typename Finish>
void Convolve(const Geometry& g, Value value, Weight weight, Finish finish) {
  constexpr int64_t kStretch = 64;
  const SlidingWindow& w = g.window;
  const int64_t per_group = g.channels / g.groups;
  const int64_t filters_per_group = g.filters / g.groups;
  const int64_t taps = w.kernel[0] * w.kernel[1];
  const int64_t step = (g.channels_last ? g.channels : 1) * w.stride[1];
  const auto stretch = [&](int64_t n, int64_t o, int64_t y, int64_t x, Acc* sums) {
    const int64_t count = std::min(kStretch, w.output[1] - x);
    const int64_t first = o / filters_per_group * per_group;
    const int64_t y0 = y * w.stride[0] - w.pad_begin[0];
    const IndexRange rows = IndicesInside(y0, w.dilation[0], w.input[0], w.kernel[0]);
    std::fill_n(sums, count, Acc{});
    for (int64_t c = 0; c < per_group; ++c) {
      for (int64_t ky = rows.begin; ky < rows.end; ++ky) {
        const int64_t row = (o * per_group + c) * taps + ky * w.kernel[1];
        for (int64_t kx = 0; kx < w.kernel[1]; ++kx) {
          const int64_t x0 = x * w.stride[1] - w.pad_begin[1] + kx * w.dilation[1];
          const IndexRange inside = IndicesInside(x0, w.stride[1], w.input[1], count);
          if (inside.begin >= inside.end) continue;
          const int64_t at = g.In(n, first + c, y0 + ky * w.dilation[0], x0);
          const auto factor = weight(o, row + kx);
          for (int64_t i = inside.begin; i < inside.end; ++i) {
            sums[i] += value(at + i * step) * factor;
          }
        }
      }
    }
    for (int64_t i = 0; i < count; ++i) finish(o, g.Out(n, o, y, x + i), sums[i]);
  };
  Acc sums[kStretch];
  for (int64_t n = 0; n < g.batch; ++n) {
    for (int64_t o = 0; o < g.filters; ++o) {
      for (int64_t y = 0; y < w.output[0]; ++y) {
        for (int64_t x = 0; x < w.output[1]; x += kStretch) stretch(n, o, y, x, sums);
      }
    }
  }
}

InferResult InferConv(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[1], "the weights"));
  BITMILL_ASSIGN_OR_RETURN(Geometry g, GeometryOf(node, inputs[0].shape, inputs[1].shape));
  if (inputs.size() > 2 && inputs[2].dtype != DType::kInvalid) {
    BITMILL_RETURN_IF_ERROR(WantFloat(inputs[2], "the bias"));
    if (ElementCount(inputs[2].shape) != g.filters) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a bias of shape ", ShapeToString(inputs[2].shape), " for ", g.filters, " filters"));
    }
  }
  return OneOutput(DType::kFloat32, std::move(g.out_shape));
}

absl::Status EvalConv(const Node& node, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const Geometry g, GeometryOf(node, in[0].shape, in[1].shape));
  const float* x = in[0].as<float>();
  const float* weights = in[1].as<float>();
  const float* bias = in.size() > 2 ? in[2].as<float>() : nullptr;
  float* to = out[0].as<float>();
  Convolve<float>(
      g, [x](int64_t i) { return x[i]; }, [weights](int64_t, int64_t i) { return weights[i]; },
      [=](int64_t o, int64_t i, float sum) { to[i] = bias != nullptr ? sum + bias[o] : sum; });
  return absl::OkStatus();
}

// Sums of products of bytes minus their zero points; finish(o, output index, sum).
template <typename Finish>
void ConvolveBytes(const Geometry& g, const TensorView& x, int32_t x_zero, const TensorView& w,
                   const ZeroPoints& w_zero, Finish finish) {
  WithBytes(x, [&](const auto* values) {
    WithBytes(w, [&](const auto* weights) {
      Convolve<int64_t>(
          g, [=](int64_t i) { return values[i] - x_zero; },
          [&](int64_t o, int64_t i) { return int64_t{weights[i]} - w_zero.at(o); }, finish);
    });
  });
}

InferResult InferConvInteger(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantByte(inputs[0], "the input"));
  BITMILL_RETURN_IF_ERROR(WantByte(inputs[1], "the weights"));
  BITMILL_ASSIGN_OR_RETURN(Geometry g, GeometryOf(node, inputs[0].shape, inputs[1].shape));
  BITMILL_RETURN_IF_ERROR(CheckZeroPoints(inputs, 2, 1));
  BITMILL_RETURN_IF_ERROR(CheckZeroPoints(inputs, 3, g.filters));
  return OneOutput(DType::kInt32, std::move(g.out_shape));
}

absl::Status EvalConvInteger(const Node& node, int64_t, absl::Span<const TensorView> in,
                             absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const Geometry g, GeometryOf(node, in[0].shape, in[1].shape));
  auto* to = out[0].as<int32_t>();
  ConvolveBytes(g, in[0], ZeroPoints(in, 2).at(0), in[1], ZeroPoints(in, 3),
                [to](int64_t, int64_t i, int64_t sum) { to[i] = static_cast<int32_t>(sum); });
  return absl::OkStatus();
}

// QLinearConv(x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias)
InferResult InferQLinearConv(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantByte(inputs[0], "the input"));
  BITMILL_RETURN_IF_ERROR(WantByte(inputs[3], "the weights"));
  BITMILL_ASSIGN_OR_RETURN(Geometry g, GeometryOf(node, inputs[0].shape, inputs[3].shape));
  for (const size_t i : {1, 6}) BITMILL_RETURN_IF_ERROR(CheckScales(inputs, i, 1));
  for (const size_t i : {2, 7}) BITMILL_RETURN_IF_ERROR(CheckZeroPoints(inputs, i, 1));
  BITMILL_RETURN_IF_ERROR(CheckScales(inputs, 4, g.filters));
  BITMILL_RETURN_IF_ERROR(CheckZeroPoints(inputs, 5, g.filters));
  if (inputs.size() > 8 && inputs[8].dtype != DType::kInvalid &&
      (inputs[8].dtype != DType::kInt32 || ElementCount(inputs[8].shape) != g.filters)) {
    return absl::InvalidArgumentError("the bias must be INT32, one value a filter");
  }
  return OneOutput(inputs[7].dtype, std::move(g.out_shape));
}

absl::Status EvalQLinearConv(const Node& node, int64_t, absl::Span<const TensorView> in,
                             absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const Geometry g, GeometryOf(node, in[0].shape, in[3].shape));
  const float x_scale = in[1].as<float>()[0];
  const float y_scale = in[6].as<float>()[0];
  const int32_t y_zero = ZeroPoints(in, 7).at(0);
  const bool per_filter = in[4].elements() > 1;
  const int32_t* bias = in.size() > 8 ? in[8].as<int32_t>() : nullptr;
  ConvolveBytes(g, in[0], ZeroPoints(in, 2).at(0), in[3], ZeroPoints(in, 5),
                [&](int64_t o, int64_t i, int64_t sum) {
                  if (bias != nullptr) sum += bias[o];
                  const float scale = x_scale * in[4].as<float>()[per_filter ? o : 0] / y_scale;
                  StoreQuantized(out[0], i, static_cast<float>(sum) * scale, y_zero);
                });
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"Conv", 2, 3, 1, 1, InferConv, EvalConv},
    {"ConvInteger", 2, 4, 1, 1, InferConvInteger, EvalConvInteger},
    {"QLinearConv", 8, 9, 1, 1, InferQLinearConv, EvalQLinearConv},
};

}  // namespace

absl::Span<const OpDef> ConvolutionOps() { return kOps; }

}  // namespace bitmill
