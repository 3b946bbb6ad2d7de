// Bytes of a window, wherever they lie, against the image.
#include "backends/cpu/line_ends.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace bitmill {
namespace {

struct Shape {
  int64_t channels, in_h, in_w, kernel_h, kernel_w, stride, dilation_h, pad;
};

ConvWindow WindowOf(const Shape& s) {
  ConvWindow window;
  window.in_channels = s.channels;
  window.out_channels = 1;
  window.in_h = s.in_h;
  window.in_w = s.in_w;
  window.kernel_h = s.kernel_h;
  window.kernel_w = s.kernel_w;
  window.stride_h = window.stride_w = s.stride;
  window.dilation_h = s.dilation_h;
  window.pad_top = window.pad_left = s.pad;
  window.out_h = (s.in_h + 2 * s.pad - s.dilation_h * (s.kernel_h - 1) - 1) / s.stride + 1;
  window.out_w = (s.in_w + 2 * s.pad - s.kernel_w) / s.stride + 1;
  return window;
}

BufferLayout LayoutOf(const Shape& s) {
  const int64_t shape[] = {1, s.channels, s.in_h, s.in_w};
  return *MakeLayout(Storage::kCodes, DType::kUInt8, shape, {s.pad, s.pad, s.pad, s.pad, 7},
                     /*tight=*/true);
}

LineEnds EndsOf(const Shape& s, int64_t step_unit = 1) {
  return LineEndsOf(WindowOf(s), step_unit);
}

TEST(LineEndsTest, TakeFewerStepsWherePixelsLieFarEnoughApart) {
  const Shape stem = {3, 32, 32, 7, 7, 2, 1, 3};
  EXPECT_EQ(EndsOf(stem).end_steps, 2);
  EXPECT_EQ(EndsOf(stem).steps(WindowOf(stem)), 37);
  const Shape small = {3, 32, 32, 3, 3, 2, 1, 1};
  EXPECT_EQ(EndsOf(small).steps(WindowOf(small)), 7);
}

TEST(LineEndsTest, StayWhereNothingIsGained) {
  const Shape adjacent = {3, 32, 32, 3, 3, 1, 1, 1};  // 3 bytes from pixel to pixel
  EXPECT_EQ(EndsOf(adjacent).end_steps, 0);
  EXPECT_EQ(EndsOf(adjacent).steps(WindowOf(adjacent)), 9);
  const Shape whole = {1, 32, 32, 8, 8, 4, 1, 0};
  EXPECT_EQ(EndsOf(whole).end_steps, 0);
  const Shape line = {3, 1, 32, 1, 7, 2, 1, 0};
  EXPECT_EQ(EndsOf(line).end_steps, 0);
  const Shape stem = {3, 32, 32, 7, 7, 2, 1, 3};
  EXPECT_EQ(EndsOf(stem, 16).end_steps, 0);  // 3 units of steps either way
  const Shape large = {3, 64, 64, 11, 11, 4, 1, 0};
  EXPECT_EQ(EndsOf(large, 16).steps(WindowOf(large)), 91);
}

// Every byte of every window, found by way of its step.
void ExpectWindows(const Shape& s, uint32_t seed) {
  const ConvWindow window = WindowOf(s);
  const BufferLayout image = LayoutOf(s);
  const LineEnds ends = LineEndsOf(window, 1);
  ASSERT_GT(ends.end_steps, 0);
  const BufferLayout layout = *WithEndsPlane(image);
  std::mt19937 random(seed);
  std::vector<std::byte> buffer(static_cast<size_t>(layout.image_bytes));
  for (std::byte& byte : buffer) byte = static_cast<std::byte>(random());
  const std::vector<std::byte> before = buffer;
  // In two parts, as threads would.
  FillLineEnds(ends, window, layout, window.out_h / 2, window.out_h - window.out_h / 2,
               buffer.data());
  FillLineEnds(ends, window, layout, 0, window.out_h / 2, buffer.data());
  for (int64_t i = 0; i < image.image_bytes; ++i) {
    ASSERT_EQ(buffer[static_cast<size_t>(i)], before[static_cast<size_t>(i)]) << "image changed";
  }
  const std::vector<int32_t> offsets = EndsStepOffsets(ends, window, layout);
  ASSERT_EQ(static_cast<int64_t>(offsets.size()), ends.steps(window));
  for (int64_t y = 0; y < window.out_h; ++y) {
    for (int64_t x = 0; x < window.out_w; ++x) {
      const int64_t start = y * s.stride * layout.row_bytes + x * s.stride * layout.pixel_bytes;
      for (int64_t line = 0; line < s.kernel_h; ++line) {
        for (int64_t byte = 0; byte < s.kernel_w * s.channels; ++byte) {
          const int64_t place = ends.Place(window, line, byte);
          const int64_t at = start + offsets[static_cast<size_t>(place / 4)] + place % 4;
          const int64_t from = start + line * s.dilation_h * layout.row_bytes + byte;
          ASSERT_EQ(buffer[static_cast<size_t>(at)], before[static_cast<size_t>(from)])
              << "pixel " << y << ", " << x << ", line " << line << ", byte " << byte;
        }
      }
    }
  }
}

TEST(LineEndsTest, EveryByteOfAWindowIsWhereItsStepReads) {
  ExpectWindows({3, 32, 30, 7, 7, 2, 1, 3}, 1);
  ExpectWindows({3, 17, 19, 3, 3, 2, 1, 1}, 2);
  ExpectWindows({3, 23, 23, 5, 5, 4, 1, 2}, 3);  // 3 bytes of each line
  ExpectWindows({3, 40, 36, 11, 11, 4, 1, 2}, 4);
  ExpectWindows({1, 28, 28, 5, 5, 4, 1, 2}, 5);
  ExpectWindows({2, 20, 20, 3, 3, 2, 2, 1}, 6);  // dilated lines
  ExpectWindows({3, 21, 21, 3, 3, 5, 1, 0}, 7);  // pixels that no window reads
}

TEST(LineEndsTest, ImagesThatAreTooLargeAreRefused) {
  BufferLayout layout = LayoutOf({3, 32, 32, 7, 7, 2, 1, 3});
  layout.image_bytes = int64_t{3} << 29;
  EXPECT_EQ(WithEndsPlane(layout).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace bitmill
