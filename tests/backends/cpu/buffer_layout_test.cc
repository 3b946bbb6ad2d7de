#include "backends/cpu/buffer_layout.h"

#include <gtest/gtest.h>

#include <vector>

namespace bitmill {
namespace {

// Prepares a buffer full of rubbish and returns it.
std::vector<std::byte> Prepared(const BufferLayout& layout, int64_t rows, bool whole_pixels) {
  std::vector<std::byte> buffer(static_cast<size_t>(layout.image_bytes * rows), std::byte{0xa5});
  PrepareBuffer(layout, buffer.data(), rows, whole_pixels);
  return buffer;
}

bool InBorder(const BufferLayout& layout, int64_t y, int64_t x) {
  return y < layout.border.top || y >= layout.border.top + layout.height ||
         x < layout.border.left || x >= layout.border.left + layout.width;
}

std::vector<std::byte> FillPixel(const BufferLayout& layout) {
  std::vector<std::byte> pixel(static_cast<size_t>(layout.pixel_bytes));
  for (int64_t c = 0; c < layout.channels; ++c) {
    if (layout.storage == Storage::kCodes) {
      pixel[static_cast<size_t>(c)] = static_cast<std::byte>(layout.border.fill);
    } else if (layout.border.fill != 0) {
      pixel[static_cast<size_t>(c / 8)] |= std::byte{1} << (c % 8);
    }
  }
  return pixel;
}

// Border pixels hold the fill and nothing past the last channel; inside, bytes that the producer
// leaves alone are zero.
void CheckPrepared(const BufferLayout& layout, int64_t rows, bool whole_pixels) {
  const std::vector<std::byte> buffer = Prepared(layout, rows, whole_pixels);
  const std::vector<std::byte> fill = FillPixel(layout);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t y = 0; y < layout.border.top + layout.height + layout.border.bottom; ++y) {
      for (int64_t x = 0; x < layout.border.left + layout.width + layout.border.right; ++x) {
        const std::byte* const pixel =
            buffer.data() + r * layout.image_bytes + y * layout.row_bytes + x * layout.pixel_bytes;
        const bool border = InBorder(layout, y, x);
        for (int64_t b = 0; b < layout.pixel_bytes; ++b) {
          if (border) {
            ASSERT_EQ(pixel[b], fill[static_cast<size_t>(b)]) << y << "," << x << " byte " << b;
          } else if (!whole_pixels && b >= layout.used_pixel_bytes()) {
            ASSERT_EQ(pixel[b], std::byte{0}) << y << "," << x << " byte " << b;
          }
        }
      }
    }
  }
}

TEST(BufferLayoutTest, PreparedBufferHoldsBorderAndZeroTails) {
  for (const Storage storage : {Storage::kBits, Storage::kCodes}) {
    for (const int64_t channels : {1, 3, 4, 7, 8, 63, 64, 65, 128, 130}) {
      for (const int32_t fill : {0, 1}) {
        for (const bool whole_pixels : {false, true}) {
          for (const Border& border : {Border{}, Border{1, 1, 1, 1}, Border{0, 2, 1, 0}}) {
            Border filled = border;
            filled.fill = storage == Storage::kCodes ? fill * 128 : fill;
            const int64_t shape[] = {1, channels, 3, 2};
            const auto layout = MakeLayout(storage, DType::kUInt8, shape, filled);
            ASSERT_TRUE(layout.ok());
            CheckPrepared(*layout, 2, whole_pixels);
          }
        }
      }
    }
  }
}

TEST(BufferLayoutTest, RefusesRowsOfTwoGigabytes) {
  const int64_t shape[] = {1, 1, 1 << 15, 1 << 15};
  EXPECT_TRUE(MakeLayout(Storage::kPlain, DType::kUInt8, shape).ok());
  EXPECT_EQ(MakeLayout(Storage::kPlain, DType::kFloat32, shape).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(MakeLayout(Storage::kBits, DType::kBit1, shape).status().code(),
            absl::StatusCode::kResourceExhausted);
  const int64_t small[] = {1, 1, 2, 2};
  EXPECT_EQ(MakeLayout(Storage::kCodes, DType::kUInt8, small, {int64_t{1} << 40, 1, 1, 1})
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(BufferLayoutTest, VectorsHaveOnePixel) {
  const int64_t shape[] = {1, 784};
  const auto layout = MakeLayout(Storage::kBits, DType::kBit1, shape);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->pixels(), 1);
  EXPECT_EQ(layout->channels, 784);
  EXPECT_EQ(layout->pixel_bytes, 13 * 8);
}

}  // namespace
}  // namespace bitmill
