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

}  // namespace bitmill
