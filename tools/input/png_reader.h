// PNG images through libpng.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tensor.h"

namespace bitmill {

// UINT8 pixels 0 to 255: [height, width] of a gray image, [height, width, 3] of a coloured one.
// Palettes are looked up, 16-bit samples cut to 8, an alpha channel is dropped. Never resizes.
// InvalidArgument for a damaged file or more than 2^28 pixels.
absl::StatusOr<Tensor> ParsePng(absl::string_view bytes);

}  // namespace bitmill
