// Whether the answers under load are right: the same as the first to the same request, and the
// labelled class.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace inference {
class ModelInferResponse;
}

namespace bitmill {

// Remembers the first answer to each request. Not thread-safe.
class AnswerJudge {
 public:
  // DataLoss when the outputs (names, types, shapes, contents) are not byte for byte those of the
  // first answer to this request; model name, version, id and parameters do not count.
  absl::Status SameAsFirst(size_t model, size_t request,
                           const inference::ModelInferResponse& response);

 private:
  std::map<std::pair<size_t, size_t>, std::string> first_;
};

// Rows whose class, the position of the largest value of the first output (or its value where a
// row holds one integer), is the label. InvalidArgument when the output does not have a row for
// each label. Labels below 0 are unknown and never correct.
absl::StatusOr<int64_t> CountCorrect(const inference::ModelInferResponse& response,
                                     absl::Span<const int64_t> labels);

}  // namespace bitmill
