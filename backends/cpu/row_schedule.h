// How many rows of a chunk each step of a plan takes at a time.
//
// Maps of early layers are large and their weights few: one row after the other keeps its maps in
// the second-level cache. Late layers are the reverse: rows that run together share what their
// weights cost. So neighbouring steps form segments, each with a number of rows of its own; what
// passes from one segment to the next exists for all rows of the chunk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace bitmill {

// What the choice needs to know of a step.
struct ScheduledStep {
  int64_t value_bytes = 0;     // of a row, read and written
  int64_t live_bytes = 0;      // of a row: all buffers that are alive then
  int64_t entering_bytes = 0;  // of a row: buffers of earlier steps that this one or later ones use
  int64_t weight_bytes = 0;
  bool rows_together = false;  // weights are read once for all rows
};

// Steps first .. end - 1 take `rows` rows at a time, or what is left of the chunk.
struct RowSegment {
  size_t first = 0, end = 0;
  int64_t rows = 1;

  bool operator==(const RowSegment&) const = default;
};

struct RowSchedule {
  int64_t chunk_rows = 1;
  std::vector<RowSegment> segments;  // all steps, in order; rows at most chunk_rows
};

// The schedule of at most `max_rows` rows (at least 1) for which a row costs least by a model of
// the bytes that come from the second-level cache, of `cache_bytes`, and from beyond it.
RowSchedule ScheduleRows(absl::Span<const ScheduledStep> steps, int64_t max_rows,
                         int64_t cache_bytes);

// ScheduleRows or what takes its place: any schedule computes the same.
using RowScheduler = absl::FunctionRef<RowSchedule(absl::Span<const ScheduledStep> steps,
                                                   int64_t max_rows, int64_t cache_bytes)>;

}  // namespace bitmill
