// NumPy's .npy and .npz (stored or deflated).
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/input/named_tensor.h"

namespace bitmill {

// One array: version 1 to 3 headers, C order, little-endian or single-byte elements of bool,
// integer or float type. InvalidArgument says what is malformed; Unimplemented names a type or
// order that is not read.
absl::StatusOr<Tensor> ParseNpy(absl::string_view bytes);

// All arrays of the archive in its order, named as in numpy (without ".npy"). InvalidArgument for a
// damaged archive, naming the member.
absl::StatusOr<std::vector<NamedTensor>> ParseNpz(absl::string_view bytes);

}  // namespace bitmill
