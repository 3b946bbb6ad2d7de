// The class that a row of scores stands for, and the share that softmax gives it.
//
// A thousand scores are read twice, four at a time in registers that every CPU has: once for the
// largest, once for the sum of exponentials. Those are 2^x with x split into a whole number, which
// becomes the exponent of the float, and a rest that a polynomial takes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitmill {

struct LargestScore {
  int32_t index = -1;  // the first of equals; -1: none is a number
  float share = -1;    // 0 to 1; -1: some score is no number, or the largest is infinite
};

// The share takes longer than the index: an exponential for each score.
enum class ScoreShare : uint8_t { kTake, kLeave };

// `scores`: `count` packed floats of any alignment. The share is the score itself where all are
// probabilities (0 to 1, sum 1 within 0.001), otherwise its softmax, off by 1e-6 of itself at most.
LargestScore FindLargestScore(const std::byte* scores, int64_t count,
                              ScoreShare share = ScoreShare::kTake);

}  // namespace bitmill
