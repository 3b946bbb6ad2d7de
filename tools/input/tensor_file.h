// Any file that a model's input may come from.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/input/named_tensor.h"

namespace bitmill {

// What a file holds: arrays, or, when nothing says what they are, bytes.
struct TensorFile {
  std::string path;
  std::vector<NamedTensor> arrays;
  std::string raw;  // only when `arrays` is empty
};

// .npz, .npy, .png, IDX (the MNIST format); each of them also gzipped. Found by the first bytes,
// not by the name; anything else is raw. A single array is named like the file without folder and
// endings. Errors name the path.
absl::StatusOr<TensorFile> ReadTensorFile(const std::string& path);

}  // namespace bitmill
