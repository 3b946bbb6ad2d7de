#include "model/ops/window.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "model/ops/op_support.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxWindowValue = int64_t{1} << 24;

absl::Status Fill(const Node& node, const char* name, size_t count, int64_t least,
                  absl::Span<int64_t> values) {
  const auto* given = AttrInts(node, name);
  if (given == nullptr || given->empty()) return absl::OkStatus();
  if (given->size() != count) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", given->size(), " values, wanted ", count));
  }
  for (size_t i = 0; i < count; ++i) {
    if ((*given)[i] < least || (*given)[i] > kMaxWindowValue) {
      return absl::InvalidArgumentError(absl::StrCat(name, " contains ", (*given)[i], ", wanted ",
                                                     least, " to ", kMaxWindowValue));
    }
    values[i] = (*given)[i];
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SlidingWindow> WindowOf(const Node& node, absl::Span<const int64_t> spatial,
                                       absl::Span<const int64_t> kernel) {
  const size_t n = spatial.size();
  if (n < 1 || n > 2) {
    return absl::UnimplementedError(absl::StrCat(n, " spatial dimensions; 1 and 2 are supported"));
  }
  std::array<int64_t, 2> kernels{1, 1};
  std::array<int64_t, 2> strides{1, 1};
  std::array<int64_t, 2> dilations{1, 1};
  std::array<int64_t, 4> pads{0, 0, 0, 0};
  const auto head = [n](std::array<int64_t, 2>& a) { return absl::MakeSpan(a.data(), n); };
  BITMILL_RETURN_IF_ERROR(Fill(node, "kernel_shape", n, 1, head(kernels)));
  BITMILL_RETURN_IF_ERROR(Fill(node, "strides", n, 1, head(strides)));
  BITMILL_RETURN_IF_ERROR(Fill(node, "dilations", n, 1, head(dilations)));
  BITMILL_RETURN_IF_ERROR(Fill(node, "pads", 2 * n, 0, absl::MakeSpan(pads.data(), 2 * n)));
  if (!kernel.empty()) {
    if (AttrInts(node, "kernel_shape") != nullptr &&
        !std::equal(kernel.begin(), kernel.end(), kernels.begin())) {
      return absl::InvalidArgumentError(absl::StrCat("kernel_shape says ",
                                                     ShapeToString(head(kernels)), ", the weights ",
                                                     ShapeToString(kernel)));
    }
    std::copy(kernel.begin(), kernel.end(), kernels.begin());
  } else if (AttrInts(node, "kernel_shape") == nullptr) {
    return absl::InvalidArgumentError("kernel_shape is missing");
  }
  const std::string auto_pad = AttrString(node, "auto_pad", "NOTSET");
  const bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  if (!same && auto_pad != "NOTSET" && auto_pad != "VALID") {
    return absl::InvalidArgumentError(absl::StrCat("auto_pad is '", auto_pad, "'"));
  }
  if (auto_pad == "VALID") pads = {0, 0, 0, 0};
  const bool ceil = AttrInt(node, "ceil_mode", 0) != 0;

  SlidingWindow window;
  for (size_t i = 0; i < n; ++i) {
    const size_t d = 2 - n + i;  // one-dimensional windows use index 1
    const int64_t extent = (kernels[i] - 1) * dilations[i] + 1;
    int64_t begin = pads[i];
    int64_t end = pads[n + i];
    if (same) {
      const int64_t out = (spatial[i] + strides[i] - 1) / strides[i];
      const int64_t total = std::max<int64_t>(0, (out - 1) * strides[i] + extent - spatial[i]);
      begin = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
    }
    const int64_t room = spatial[i] + begin + end - extent;
    if (spatial[i] < 1 || spatial[i] > kMaxWindowValue || room < 0) {
      return absl::InvalidArgumentError(absl::StrCat("a window of ", extent, " does not fit into ",
                                                     spatial[i], " with padding ", begin, " and ",
                                                     end));
    }
    int64_t out = room / strides[i] + 1;
    if (ceil && room % strides[i] != 0) {
      // A further window counts only if it starts inside the image or its leading padding.
      if (out * strides[i] < spatial[i] + begin) ++out;
    }
    window.input[d] = spatial[i];
    window.output[d] = out;
    window.kernel[d] = kernels[i];
    window.stride[d] = strides[i];
    window.dilation[d] = dilations[i];
    window.pad_begin[d] = begin;
    window.pad_end[d] = end;
  }
  return window;
}

absl::StatusOr<SlidingWindow> PoolWindowOf(const Node& node, absl::Span<const int64_t> spatial) {
  if (!absl::StartsWith(node.op, "Global")) return WindowOf(node, spatial, {});
  SlidingWindow window;
  for (size_t i = 0; i < spatial.size(); ++i) {
    const size_t d = 2 - spatial.size() + i;
    if (spatial[i] < 1) return absl::InvalidArgumentError("pooling of an empty image");
    window.input[d] = window.kernel[d] = spatial[i];
  }
  return window;
}

TapRange TapsWithin(int64_t origin, int64_t taps, int64_t dilation, int64_t from, int64_t to) {
  // Of the taps from the origin on, how many lie in front of a place.
  const auto before = [&](int64_t place) {
    return place <= origin ? 0 : std::min(taps, (place - origin + dilation - 1) / dilation);
  };
  return {before(from), before(to)};
}

TapRange TapsInside(const SlidingWindow& window, size_t axis, int64_t output) {
  const int64_t origin = output * window.stride[axis] - window.pad_begin[axis];
  return TapsWithin(origin, window.kernel[axis], window.dilation[axis], 0, window.input[axis]);
}

}  // namespace bitmill
