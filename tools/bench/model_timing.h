// Timing compiled models on made-up rows.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "server/schedule/tbb_scheduler.h"
#include "tools/input/fit_rows.h"

namespace bitmill {

// Rows of one batch and where the pointers to them are kept.
class TimedBatch {
 public:
  static absl::StatusOr<TimedBatch> Create(const Signature& signature, int64_t rows);
  TimedBatch(TimedBatch&&) = default;

  absl::Status Run(const Executable& executable, ExecutionContext& context) const {
    return executable.Run(rows(), context);
  }
  absl::Status RunTimed(const Executable& executable, ExecutionContext& context,
                        OperationTimes& times) const {
    return executable.RunTimed(rows(), context, times);
  }
  const std::vector<std::vector<char>>& outputs() const { return outputs_; }

 private:
  TimedBatch() = default;
  BatchRows rows() const { return {rows_, input_ports_, output_ports_}; }

  int64_t rows_ = 0;
  std::vector<RowSet> inputs_;
  std::vector<std::vector<char>> outputs_;
  std::vector<std::vector<const std::byte*>> input_rows_;
  std::vector<std::vector<std::byte*>> output_rows_;
  std::vector<const std::byte* const*> input_ports_;
  std::vector<std::byte* const*> output_ports_;
};

// Picoseconds of a row, a repetition each, ascending; not empty.
using RowTimes = std::vector<int64_t>;

// CPU time of batches of `rows` rows on this thread, for about `seconds`.
absl::StatusOr<RowTimes> TimeOneThread(const Executable& executable, const TimedBatch& batch,
                                       int64_t rows, double seconds);

// Wall time in windows taken in turn: on one thread, with a batch on each worker, and with all of
// them at one batch.
struct ManyTimes {
  RowTimes alone, side_by_side, shared;
};
// About three times `seconds`, longer where batches take long: a window holds at least 8, and there
// are 10. `alone` runs on one thread, `shared` finds helpers at `scheduler`.
// Internal when they differ in a bit.
absl::StatusOr<ManyTimes> TimeManyThreads(const Executable& alone, const Executable& shared,
                                          TbbScheduler& scheduler, int64_t rows, double seconds);

}  // namespace bitmill
