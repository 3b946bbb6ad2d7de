// IDX, the format of the MNIST files: two zero bytes, an element type, the number of dimensions,
// the dimensions and the elements, all big-endian.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tensor.h"

namespace bitmill {

// Whether the first bytes can be those of an IDX file with at least one dimension.
bool LooksLikeIdx(absl::string_view bytes);

// InvalidArgument when the header is malformed or the data is not as long as it says.
absl::StatusOr<Tensor> ParseIdx(absl::string_view bytes);

}  // namespace bitmill
