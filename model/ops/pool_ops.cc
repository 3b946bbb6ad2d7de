// Pooling: MaxPool, AveragePool, and their global forms; channels on axis 1 or last.
#include <algorithm>
#include <limits>

#include "model/ops/op_support.h"
#include "model/ops/ops.h"
#include "model/ops/window.h"

namespace bitmill {
namespace {

struct PoolGeometry {
  SlidingWindow window;
  int64_t outer = 1, channels = 1;
  bool channels_last = false;
  Shape out_shape;

  int64_t Index(const std::array<int64_t, 2>& size, int64_t n, int64_t c, int64_t y,
                int64_t x) const {
    if (channels_last) return ((n * size[0] + y) * size[1] + x) * channels + c;
    return ((n * channels + c) * size[0] + y) * size[1] + x;
  }
};

absl::StatusOr<PoolGeometry> PoolOf(const Node& node, absl::Span<const int64_t> shape) {
  if (shape.size() < 3 || shape.size() > 4) {
    return absl::UnimplementedError(
        absl::StrCat("pooling of ", ShapeToString(shape), "; rank 3 and 4 are supported"));
  }
  PoolGeometry g;
  g.channels_last = node.domain == "qonnx.custom_op.channels_last";
  g.outer = shape[0];
  g.channels = g.channels_last ? shape.back() : shape[1];
  const auto spatial = shape.subspan(g.channels_last ? 1 : 2, shape.size() - 2);
  BITMILL_ASSIGN_OR_RETURN(g.window, PoolWindowOf(node, spatial));
  g.out_shape = {g.outer};
  if (!g.channels_last) g.out_shape.push_back(g.channels);
  for (size_t d = 2 - spatial.size(); d < 2; ++d) g.out_shape.push_back(g.window.output[d]);
  if (g.channels_last) g.out_shape.push_back(g.channels);
  return g;
}

// Calls visit(input index) for each pixel of a window inside the image; `begin` and `end` tell the
// caller the window's extent in the padded image.
template <typename Visit>
void ForEachTap(const PoolGeometry& g, int64_t n, int64_t c, int64_t y, int64_t x, Visit visit) {
  const SlidingWindow& w = g.window;
  const TapRange rows = TapsInside(w, 0, y), columns = TapsInside(w, 1, x);
  for (int64_t ky = rows.first; ky < rows.last; ++ky) {
    const int64_t iy = y * w.stride[0] - w.pad_begin[0] + ky * w.dilation[0];
    for (int64_t kx = columns.first; kx < columns.last; ++kx) {
      const int64_t ix = x * w.stride[1] - w.pad_begin[1] + kx * w.dilation[1];
      visit(g.Index(w.input, n, c, iy, ix));
    }
  }
}

template <typename Fn>
void ForEachOutput(const PoolGeometry& g, Fn fn) {
  for (int64_t n = 0; n < g.outer; ++n) {
    for (int64_t c = 0; c < g.channels; ++c) {
      for (int64_t y = 0; y < g.window.output[0]; ++y) {
        for (int64_t x = 0; x < g.window.output[1]; ++x) {
          fn(n, c, y, x, g.Index(g.window.output, n, c, y, x));
        }
      }
    }
  }
}

InferResult InferMaxPool(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  if (!DispatchNumber(inputs[0].dtype, [](auto) {})) {
    return absl::UnimplementedError(absl::StrCat("MaxPool of ", DTypeName(inputs[0].dtype)));
  }
  if (node.outputs.size() > 1) {
    return absl::UnimplementedError("the Indices output of MaxPool is not supported");
  }
  BITMILL_ASSIGN_OR_RETURN(PoolGeometry g, PoolOf(node, inputs[0].shape));
  return OneOutput(inputs[0].dtype, std::move(g.out_shape));
}

absl::Status EvalMaxPool(const Node& node, int64_t, absl::Span<const TensorView> in,
                         absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const PoolGeometry g, PoolOf(node, in[0].shape));
  DispatchNumber(in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using Limits = std::numeric_limits<T>;
    const T* from = in[0].as<T>();
    T* to = out[0].as<T>();
    ForEachOutput(g, [&](int64_t n, int64_t c, int64_t y, int64_t x, int64_t index) {
      T best = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
      ForEachTap(g, n, c, y, x, [&](int64_t i) { best = from[i] > best ? from[i] : best; });
      to[index] = best;
    });
  });
  return absl::OkStatus();
}

InferResult InferAveragePool(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "the input"));
  BITMILL_ASSIGN_OR_RETURN(PoolGeometry g, PoolOf(node, inputs[0].shape));
  return OneOutput(DType::kFloat32, std::move(g.out_shape));
}

absl::Status EvalAveragePool(const Node& node, int64_t, absl::Span<const TensorView> in,
                             absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const PoolGeometry g, PoolOf(node, in[0].shape));
  const bool with_padding = AttrInt(node, "count_include_pad", 0) != 0;
  const SlidingWindow& w = g.window;
  const float* from = in[0].as<float>();
  float* to = out[0].as<float>();
  // With count_include_pad the divisor is the window clipped to the padded image (a window that
  // ceil_mode adds may stick out of it).
  const auto taps_inside = [&w](size_t d, int64_t position) {
    const int64_t size = w.input[d] + w.pad_begin[d] + w.pad_end[d];
    return TapsWithin(position * w.stride[d], w.kernel[d], w.dilation[d], 0, size).count();
  };
  ForEachOutput(g, [&](int64_t n, int64_t c, int64_t y, int64_t x, int64_t index) {
    float sum = 0.0F;
    int64_t count = 0;
    ForEachTap(g, n, c, y, x, [&](int64_t i) {
      sum += from[i];
      ++count;
    });
    if (with_padding) count = taps_inside(0, y) * taps_inside(1, x);
    to[index] = count > 0 ? sum / static_cast<float>(count) : 0.0F;
  });
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"MaxPool", 1, 1, 1, 2, InferMaxPool, EvalMaxPool},
    {"GlobalMaxPool", 1, 1, 1, 1, InferMaxPool, EvalMaxPool},
    {"AveragePool", 1, 1, 1, 1, InferAveragePool, EvalAveragePool},
    {"GlobalAveragePool", 1, 1, 1, 1, InferAveragePool, EvalAveragePool},
};

}  // namespace

absl::Span<const OpDef> PoolOps() { return kOps; }

}  // namespace bitmill
