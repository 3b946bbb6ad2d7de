#include "tools/input/png_reader.h"

#include <png.h>

#include <cstdint>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"

namespace bitmill {

absl::StatusOr<Tensor> ParsePng(absl::string_view bytes) {
  constexpr int64_t kMaxPixels = int64_t{1} << 28;
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  const auto cleanup = absl::MakeCleanup([&image] { png_image_free(&image); });
  if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("damaged PNG: ", image.message));
  }
  const bool color = (image.format & PNG_FORMAT_FLAG_COLOR) != 0;
  const int64_t height = image.height;
  const int64_t width = image.width;
  const std::optional<int64_t> pixels = CheckedMul(height, width);
  if (!pixels.has_value() || *pixels > kMaxPixels) {
    return absl::InvalidArgumentError(
        absl::StrCat("an image of ", width, " x ", height, " pixels is too large"));
  }
  // libpng's "simplified" reader converts to what `format` asks for.
  image.format = color ? PNG_FORMAT_RGBA : PNG_FORMAT_GA;
  const int64_t stored = color ? 4 : 2;
  BITMILL_ASSIGN_OR_RETURN(Tensor with_alpha,
                           Tensor::Create(DType::kUInt8, {height, width, stored}));
  if (png_image_finish_read(&image, nullptr, with_alpha.data(), 0, nullptr) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("damaged PNG: ", image.message));
  }
  const int64_t kept = color ? 3 : 1;
  Shape shape = {height, width};
  if (color) shape.push_back(kept);
  BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(DType::kUInt8, shape));
  const absl::Span<const uint8_t> from = with_alpha.span<uint8_t>();
  const absl::Span<uint8_t> to = tensor.span<uint8_t>();
  for (int64_t pixel = 0; pixel < *pixels; ++pixel) {
    for (int64_t channel = 0; channel < kept; ++channel) {
      to[static_cast<size_t>(pixel * kept + channel)] =
          from[static_cast<size_t>(pixel * stored + channel)];
    }
  }
  return tensor;
}

}  // namespace bitmill
