#include "backends/cpu/line_ends.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace bitmill {
namespace {

constexpr int64_t kStepBytes = 4;

int64_t CeilDiv(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

// Of end step `step` of a window, from its place in the image.
int64_t PlaceInPlane(const LineEnds& ends, const BufferLayout& input, int64_t step) {
  return step / ends.steps_a_line * input.row_bytes + step % ends.steps_a_line * kStepBytes;
}

}  // namespace

LineEnds LineEndsOf(const ConvWindow& window, int64_t step_unit) {
  const int64_t line_bytes = window.kernel_w * window.in_channels;
  LineEnds ends;
  ends.line_steps = line_bytes / kStepBytes;
  ends.end_bytes = line_bytes % kStepBytes;
  const int64_t apart = std::min(window.stride_w * window.in_channels, line_bytes);
  ends.steps_a_line = apart / kStepBytes;
  const int64_t end_steps = CeilDiv(window.kernel_h * ends.end_bytes, kStepBytes);
  const int64_t usual = ends.steps(window);
  const int64_t now = window.kernel_h * ends.line_steps + end_steps;
  const bool fits = end_steps <= ends.steps_a_line * window.stride_h;
  if (fits && CeilDiv(now, step_unit) < CeilDiv(usual, step_unit)) ends.end_steps = end_steps;
  return ends;
}

absl::StatusOr<BufferLayout> WithEndsPlane(const BufferLayout& input) {
  if (input.image_bytes > std::numeric_limits<int32_t>::max() / 2) {
    return absl::ResourceExhaustedError("an image and the ends of its windows take 2 GiB or more");
  }
  BufferLayout layout = input;
  layout.image_bytes *= 2;
  return layout;
}

std::vector<int32_t> EndsStepOffsets(const LineEnds& ends, const ConvWindow& window,
                                     const BufferLayout& input) {
  std::vector<int32_t> offsets;
  for (int64_t y = 0; y < window.kernel_h; ++y) {
    for (int64_t s = 0; s < ends.line_steps; ++s) {
      offsets.push_back(
          static_cast<int32_t>(y * window.dilation_h * input.row_bytes + s * kStepBytes));
    }
  }
  for (int64_t s = 0; s < ends.end_steps; ++s) {
    offsets.push_back(static_cast<int32_t>(input.image_bytes / 2 + PlaceInPlane(ends, input, s)));
  }
  return offsets;
}

void FillLineEnds(const LineEnds& ends, const ConvWindow& window, const BufferLayout& input,
                  int64_t first, int64_t count, std::byte* windows) {
  const int64_t apart = window.stride_w * input.pixel_bytes;
  const int64_t all = window.kernel_h * ends.end_bytes;
  for (int64_t y = first; y < first + count; ++y) {
    std::byte* const line = windows + y * window.stride_h * input.row_bytes;
    for (int64_t s = 0; s < ends.end_steps; ++s) {
      // The last step's bytes past the last end are under zero weights: any will do.
      const std::byte* from[kStepBytes];
      for (int64_t i = 0; i < kStepBytes; ++i) {
        const int64_t end = std::min(s * kStepBytes + i, all - 1);
        from[i] = line + end / ends.end_bytes * window.dilation_h * input.row_bytes +
                  ends.line_steps * kStepBytes + end % ends.end_bytes;
      }
      std::byte* const to = line + input.image_bytes / 2 + PlaceInPlane(ends, input, s);
      // One store: the processor is little-endian (base/byte_codec.h).
      const auto byte = [&](int64_t i, int64_t at) {
        return std::to_integer<uint32_t>(from[i][at]) << (8 * i);
      };
      for (int64_t at = 0; at < window.out_w * apart; at += apart) {
        const uint32_t four = byte(0, at) | byte(1, at) | byte(2, at) | byte(3, at);
        std::memcpy(to + at, &four, sizeof(four));
      }
    }
  }
}

}  // namespace bitmill
