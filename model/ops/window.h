// Sliding windows of convolutions and pools: kernel, stride, dilation, padding, output size.
#pragma once

#include <array>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/graph.h"

namespace bitmill {

// One-dimensional windows have index 0 (rows) of size 1.
struct SlidingWindow {
  std::array<int64_t, 2> input{1, 1}, output{1, 1};
  std::array<int64_t, 2> kernel{1, 1}, stride{1, 1}, dilation{1, 1};
  std::array<int64_t, 2> pad_begin{0, 0}, pad_end{0, 0};
};

// From the attributes kernel_shape, strides, dilations, pads, auto_pad and (pools) ceil_mode;
// `spatial` are the input's 1 or 2 spatial dimensions, `kernel` what the weights say (empty for
// pools, which must have kernel_shape). InvalidArgument when anything is negative, zero where it
// may not be, contradictory, or when no output remains.
absl::StatusOr<SlidingWindow> WindowOf(const Node& node, absl::Span<const int64_t> spatial,
                                       absl::Span<const int64_t> kernel);

// The window of a pool, global ones (the whole image) included; `spatial` as above, not empty
// images. Channels-last pools are told apart by their domain, not here.
absl::StatusOr<SlidingWindow> PoolWindowOf(const Node& node, absl::Span<const int64_t> spatial);

// Taps first .. last - 1 of a window.
struct TapRange {
  int64_t first = 0, last = 0;

  int64_t count() const { return last - first; }
  bool operator==(const TapRange& other) const {
    return first == other.first && last == other.last;
  }
};

// The taps k of `taps` with from <= origin + k * dilation < to, where from <= to; in constant time,
// however large a window is. None: an empty range.
TapRange TapsWithin(int64_t origin, int64_t taps, int64_t dilation, int64_t from, int64_t to);

// Those of the window of an output position along an axis that lie inside the image.
TapRange TapsInside(const SlidingWindow& window, size_t axis, int64_t output);

}  // namespace bitmill
