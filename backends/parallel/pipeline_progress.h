// Which stage of a pipeline a thread takes next: a decision without threads, see StagedExecutable.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "backends/parallel/parallel_options.h"

namespace bitmill {

// Of one batch, in `chunks` small ones that go through the stages in order. One call at a time;
// allocates nothing.
class PipelineProgress {
 public:
  // `at_a_time`: of each stage the small batches that it computes at a time, 1 or 2; at most
  // kMostParts stages. `between`: small batches between a stage and the next, at most. `threads`:
  // each has stages of its own, which it prefers.
  PipelineProgress(const std::array<int, kMostParts>& at_a_time, size_t stages, int64_t chunks,
                   int between, size_t threads)
      : at_a_time_(at_a_time),
        stages_(stages),
        chunks_(chunks),
        between_(between),
        threads_(threads) {}

  bool complete() const { return done_[stages_ - 1] == chunks_; }

  // A stage of the thread's own that is idle, else any, else one that takes another chunk beside
  // the one that it computes; the last first, the number of stages when none is ready. While none
  // is and the batch is not complete some stage is running: if none is running, the last stage that
  // is not ready for want of input has one before it that is.
  size_t Next(size_t thread) const {
    const size_t first = thread * stages_ / threads_, end = (thread + 1) * stages_ / threads_;
    for (size_t s = std::min(end, stages_); s-- > first;) {
      if (Ready(s, 1)) return s;
    }
    for (size_t s = stages_; s-- > 0;) {
      if (Ready(s, 1)) return s;
    }
    for (size_t s = stages_; s-- > 0;) {
      if (Ready(s, at_a_time_[s])) return s;
    }
    return stages_;
  }

  // The number of the chunk that a stage that is ready computes now.
  int64_t Take(size_t stage) { return taken_[stage]++; }

  // Chunks may end in another order than that in which they were taken.
  void SetDone(size_t stage, int64_t number) {
    if (number != done_[stage]) {
      second_is_done_[stage] = true;
      return;
    }
    done_[stage] += second_is_done_[stage] ? 2 : 1;
    second_is_done_[stage] = false;
  }

 private:
  // Whether the stage computes fewer than `at_a_time` and has a chunk to compute and a place for
  // what comes of it: StagePlace::depth counts on `between`.
  bool Ready(size_t stage, int at_a_time) const {
    const int64_t number = taken_[stage];
    return number - done_[stage] < at_a_time && number < chunks_ &&
           (stage == 0 || number < done_[stage - 1]) &&
           (stage + 1 == stages_ || number - done_[stage + 1] < between_);
  }

  const std::array<int, kMostParts> at_a_time_;
  const size_t stages_;
  const int64_t chunks_;
  const int between_;
  const size_t threads_;
  // Chunks, by stage: all before the first that is not done, and one more if that was faster.
  std::array<int64_t, kMostParts> taken_ = {}, done_ = {};
  std::array<bool, kMostParts> second_is_done_ = {};
};

}  // namespace bitmill
