// How the rows of a value lie in memory while a chunk of a batch runs.
//
// A chunk holds up to a few rows; row r of a value starts image_bytes * r behind its base.
//
//   kPlain       row-major elements as the logical shape says (NCHW); no border
//   kPixelFloat  float32, channels innermost (NHWC), no border; pixels may lie further apart where
//                a value is part of another one
//   kBits        one bit a channel, channels innermost; a pixel is whole 64-bit words
//   kCodes       one byte a channel, channels innermost; a pixel is a multiple of 4 bytes, or, when
//                `tight`, as many bytes as channels
//
// Bits and codes may carry a spatial border that a convolution with padding reads instead of
// testing coordinates. Bits and bytes of a pixel past the last channel are zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/dtype.h"
#include "model/lowered.h"

namespace bitmill {

enum class Storage : uint8_t { kPlain, kPixelFloat, kBits, kCodes };

struct Border {
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  // Value of every channel of a border pixel: a code; for bits 0 (+1) or 1 (-1).
  int32_t fill = 0;

  bool empty() const { return top == 0 && left == 0 && bottom == 0 && right == 0; }
};

struct BufferLayout {
  Storage storage = Storage::kPlain;
  DType dtype = DType::kInvalid;  // kPlain; otherwise what the storage implies
  int64_t elements = 0;           // of a row, logical
  // Axis 1 and what follows it; a value of rank 1 has one channel.
  int64_t channels = 1, height = 1, width = 1;
  Border border;
  bool tight = false;  // kCodes: no padding of pixels; the 4 bytes behind an image may be read
  // Strides. For kPlain only image_bytes and row_bytes/pixel_bytes of one element are meaningful.
  int64_t pixel_bytes = 0, row_bytes = 0, image_bytes = 0;
  int64_t interior_bytes = 0;  // from the start of a row to its first pixel behind the border

  int64_t pixels() const { return height * width; }
  // Bytes of a row, without those of a value that this one is part of.
  int64_t value_bytes() const;
  // Bytes that kernels write in each pixel; the rest of it is zero.
  int64_t used_pixel_bytes() const;
};

// Layout of a value. `shape` is a graph shape, batch dimension included and equal to 1 when the
// rank is above 0. ResourceExhausted when a row would take 2^31 bytes or more: kernels count
// offsets in 32 bits.
absl::StatusOr<BufferLayout> MakeLayout(Storage storage, DType dtype,
                                        absl::Span<const int64_t> shape, const Border& border = {},
                                        bool tight = false);

// Readies `rows` rows of a bits or codes buffer for a producer that writes used_pixel_bytes() of
// each pixel: fills the border and zeroes the ends of pixels. Costs nothing without either.
// `whole_pixels`: the producer writes whole pixels, so only the border needs care.
void PrepareBuffer(const BufferLayout& layout, std::byte* base, int64_t rows,
                   bool whole_pixels = false);

}  // namespace bitmill
