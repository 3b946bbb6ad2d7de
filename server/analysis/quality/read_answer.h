// What the bytes of tensors say: elements as floats, and the first output of a row as a prediction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "base/dtype.h"
#include "server/analysis/quality/answer_memory.h"
#include "server/analysis/quality/largest_score.h"
#include "server/metrics/answer_tap.h"

namespace bitmill {

// Element `index` of packed little-endian elements of any alignment, as float; large integers and
// doubles are rounded. 0 for a type without a fixed size.
float ReadElement(DType dtype, const std::byte* data, int64_t index);

// How the first output of a model is read.
struct AnswerMeaning {
  enum class Kind : uint8_t {
    kNone,    // neither classes nor a value: predictions are not watched
    kScores,  // one float a class: the largest is predicted, the first of equals
    kBinary,  // one float, the probability of class 1: predicted from 0.5 on
    kIndex,   // one integer: the class itself
    kValue,   // one number
  };
  Kind kind = Kind::kNone;
  DType dtype = DType::kInvalid;
  int64_t elements = 0;  // of a row
  int64_t classes = 0;   // 0: not known, or none

  bool has_classes() const {
    return kind == Kind::kScores || kind == Kind::kBinary || kind == Kind::kIndex;
  }
};

// kAuto by the type and the shape (answer_tap.h). Only vectors count as classes: their shape has at
// most one dimension above 1.
AnswerMeaning MeaningOf(absl::Span<const TapPort> outputs, WatchTask task);

// `row`: the first output of one row. The score of a class out of kScores: the element itself where
// all are probabilities (0 to 1, sum 1 within 0.001), otherwise its softmax; with
// ScoreShare::kLeave it is not known.
Prediction ReadPrediction(const AnswerMeaning& meaning, const std::byte* row,
                          ScoreShare share = ScoreShare::kTake);

}  // namespace bitmill
