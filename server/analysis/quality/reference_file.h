// reference.npz: rows to compare with, in the version's folder. For every input an array of its
// name, rows first, with the elements that a request has; and, if it is to be compared as well, the
// model's first output for the same rows under its name.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/npz.h"
#include "server/metrics/answer_tap.h"

namespace bitmill {

inline constexpr int64_t kMaxReferenceFileBytes = int64_t{1} << 30;  // unpacked

struct ReferenceFile {
  int64_t rows = 0;
  std::vector<Tensor> inputs;  // [input]
  std::vector<Tensor> output;  // the first output, or empty
};

// Errors of ReadNpz, and InvalidArgument naming the file and the array for one that is missing, of
// another type or row size, or of other than `least_rows` rows or more, all the same.
absl::StatusOr<ReferenceFile> ReadReferenceFile(const TappedModel& model, int64_t least_rows);

}  // namespace bitmill
