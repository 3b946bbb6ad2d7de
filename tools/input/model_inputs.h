// What `--input` and `--labels` mean, the same for every command that takes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "tools/input/fit_rows.h"
#include "tools/input/tensor_file.h"

namespace bitmill {

struct InputChoice {
  // Each "FILE", "FILE:ARRAY" or "INPUT=FILE[:ARRAY]".
  std::vector<std::string> files;
  // An array of the files above, or a file of its own (IDX, .npy, .npz with one array). Empty:
  // none.
  std::string labels;
};

struct ModelInputs {
  std::vector<RowSet> inputs;   // one an input of the signature, equally many rows
  std::vector<int64_t> labels;  // one a row, or empty
  int64_t rows = 0;
};

// Reads the files and finds what goes where: an array named like the input, otherwise the only
// array whose shape fits. Several PNG files for one input are its rows. InvalidArgument says what
// is missing, does not fit, or fits twice, and what to write instead.
absl::StatusOr<ModelInputs> ReadModelInputs(const Signature& signature, const InputChoice& choice);

}  // namespace bitmill
