#include "backends/cpu/buffer_layout.h"

#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/tensor.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxRowBytes = (int64_t{1} << 31) - 4096;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t PixelBytes(Storage storage, int64_t channels) {
  switch (storage) {
    case Storage::kBits:
      return RoundUp(channels, 64) / 8;
    case Storage::kCodes:
      return RoundUp(channels, 4);
    case Storage::kPixelFloat:
      return channels * 4;
    case Storage::kPlain:
      break;
  }
  return 0;
}

// One border pixel; the bits past the last channel stay zero.
void WriteFill(const BufferLayout& layout, std::byte* pixel) {
  std::memset(pixel, 0, static_cast<size_t>(layout.pixel_bytes));
  if (layout.border.fill == 0) return;
  if (layout.storage == Storage::kCodes) {
    std::memset(pixel, layout.border.fill, static_cast<size_t>(layout.channels));
    return;
  }
  std::memset(pixel, 0xff, static_cast<size_t>(layout.channels / 8));
  if (layout.channels % 8 != 0) {
    pixel[layout.channels / 8] = static_cast<std::byte>((1U << (layout.channels % 8)) - 1U);
  }
}

// `count` border pixels in a row; uniform when every byte of a pixel is the same.
void WriteFills(const BufferLayout& layout, std::byte* first, int64_t count, bool uniform) {
  if (count == 0) return;
  if (uniform) {
    const int byte = layout.storage == Storage::kCodes ? layout.border.fill
                     : layout.border.fill != 0         ? 0xff
                                                       : 0;
    std::memset(first, byte, static_cast<size_t>(count * layout.pixel_bytes));
    return;
  }
  WriteFill(layout, first);
  for (int64_t i = 1; i < count; ++i) {
    std::memcpy(first + i * layout.pixel_bytes, first, static_cast<size_t>(layout.pixel_bytes));
  }
}

}  // namespace

int64_t BufferLayout::value_bytes() const {
  const int64_t floats = elements * int64_t{sizeof(float)};
  return storage == Storage::kPixelFloat ? std::min(image_bytes, floats) : image_bytes;
}

int64_t BufferLayout::used_pixel_bytes() const {
  switch (storage) {
    case Storage::kBits:
      return (channels + 7) / 8;
    case Storage::kCodes:
      return channels;
    case Storage::kPixelFloat:
    case Storage::kPlain:
      break;
  }
  return pixel_bytes;
}

absl::StatusOr<BufferLayout> MakeLayout(Storage storage, DType dtype,
                                        absl::Span<const int64_t> shape, const Border& border,
                                        bool tight) {
  const auto too_large = [&] {
    return absl::ResourceExhaustedError(
        absl::StrCat("a value of shape ", ShapeToString(shape), " takes 2 GiB or more a row"));
  };
  BufferLayout layout;
  layout.storage = storage;
  layout.dtype = dtype;
  layout.border = border;
  const std::optional<int64_t> elements = CheckedProduct(shape);
  if (!elements.has_value() || *elements >= kMaxRowBytes) return too_large();
  layout.elements = *elements;
  if (shape.size() >= 2) {
    layout.channels = shape[1];
    if (shape.size() >= 3) {
      layout.width = shape.back();
      layout.height = 1;
      for (size_t i = 2; i + 1 < shape.size(); ++i) layout.height *= shape[i];
    }
  } else if (shape.size() == 1) {
    layout.width = shape[0];
  }

  if (storage == Storage::kPlain) {
    const int64_t element_bytes = DTypeSize(dtype);
    layout.pixel_bytes = element_bytes;
    layout.row_bytes = layout.width * element_bytes;
    const std::optional<int64_t> bytes = CheckedMul(layout.elements, element_bytes);
    if (!bytes.has_value() || *bytes > kMaxRowBytes) return too_large();
    layout.image_bytes = RoundUp(*bytes, kCacheLineBytes);
    return layout;
  }

  layout.tight = tight && storage == Storage::kCodes;
  layout.pixel_bytes = layout.tight ? layout.channels : PixelBytes(storage, layout.channels);
  const std::optional<int64_t> width =
      CheckedAdd(layout.width, CheckedAdd(border.left, border.right).value_or(-1));
  const std::optional<int64_t> height =
      CheckedAdd(layout.height, CheckedAdd(border.top, border.bottom).value_or(-1));
  const std::optional<int64_t> row_bytes = CheckedMul(width.value_or(-1), layout.pixel_bytes);
  const std::optional<int64_t> image_bytes =
      CheckedMul(height.value_or(-1), row_bytes.value_or(-1));
  if (!image_bytes.has_value() || *image_bytes > kMaxRowBytes) return too_large();
  layout.row_bytes = *row_bytes;
  // Floats take what the same elements take as kPlain: one may be seen as the other.
  layout.image_bytes = RoundUp(*image_bytes + (layout.tight ? 4 : 0),
                               storage == Storage::kPixelFloat ? kCacheLineBytes : 8);
  layout.interior_bytes = border.top * layout.row_bytes + border.left * layout.pixel_bytes;
  return layout;
}

void PrepareBuffer(const BufferLayout& layout, std::byte* base, int64_t rows, bool whole_pixels) {
  const bool ragged = layout.used_pixel_bytes() != layout.pixel_bytes;
  if (ragged && !whole_pixels) {
    std::memset(base, 0, static_cast<size_t>(rows * layout.image_bytes));
    if (layout.border.fill == 0) return;
  }
  const Border& border = layout.border;
  if (border.empty()) return;
  const bool uniform = border.fill == 0 ||
                       !(ragged || (layout.storage == Storage::kBits && layout.channels % 64 != 0));
  const int64_t full_width = border.left + layout.width + border.right;
  for (int64_t r = 0; r < rows; ++r) {
    std::byte* row = base + r * layout.image_bytes;
    WriteFills(layout, row, border.top * full_width, uniform);
    row += border.top * layout.row_bytes;
    for (int64_t y = 0; y < layout.height; ++y, row += layout.row_bytes) {
      WriteFills(layout, row, border.left, uniform);
      WriteFills(layout, row + (border.left + layout.width) * layout.pixel_bytes, border.right,
                 uniform);
    }
    WriteFills(layout, row, border.bottom * full_width, uniform);
  }
}

}  // namespace bitmill
