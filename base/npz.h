// NumPy archives (.npz): a zip file of .npy arrays, as numpy.savez and savez_compressed write them.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tensor.h"

namespace bitmill {

using NamedTensors = std::map<std::string, Tensor>;

// Arrays by name (without ".npy"): members stored or deflated, .npy versions 1 to 3, little-endian
// booleans, integers and floats in C order (or of at most one dimension); members of other kinds
// (text, objects) are left out. InvalidArgument for a malformed archive, naming the path and the
// member; errors of ReadFile as they are. `max_bytes` bounds what all arrays together unpack to.
absl::StatusOr<NamedTensors> ReadNpz(const std::string& path, int64_t max_bytes = int64_t{2} << 30);

// The same from memory; `source` is the path for messages, empty where the caller adds it.
absl::StatusOr<NamedTensors> ParseNpz(absl::string_view bytes, const std::string& source,
                                      int64_t max_bytes = int64_t{2} << 30);

// One .npy array from memory.
absl::StatusOr<Tensor> ParseNpy(absl::string_view bytes);

// Writes the tensors deflated, replacing the file atomically. InvalidArgument for more than
// 4 GiB or for elements that NumPy does not have.
absl::Status WriteNpz(const std::string& path, const NamedTensors& tensors);

}  // namespace bitmill
