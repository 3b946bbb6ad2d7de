// From what a file holds to what a model takes: rows of packed little-endian elements.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "tools/input/named_tensor.h"

namespace bitmill {

// `rows` rows of one input, back to back.
struct RowSet {
  int64_t rows = 0;
  std::string bytes;
};

// Converts the numbers of `array` to the input's type and takes dimension 0 as rows. The other
// dimensions must have as many elements as a row of the input; a missing channel dimension of 1 is
// added, and images whose channels come last are turned to a model that wants them first. An array
// that is exactly one row counts as one. InvalidArgument names both shapes, or the value that does
// not fit an integer input.
absl::StatusOr<RowSet> FitRows(const NamedTensor& array, const TensorSpec& input);

// Rows straight from bytes that already are in the input's type and layout.
absl::StatusOr<RowSet> FitRawBytes(std::string bytes, const TensorSpec& input);

// Seeded random rows: floats in [0, 1), integers 0 to 127, booleans. Unimplemented for BYTES.
absl::StatusOr<RowSet> RandomRows(const TensorSpec& input, int64_t rows, uint64_t seed);

}  // namespace bitmill
