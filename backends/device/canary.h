// Catches a device or a driver that computes something else: made-up rows run on it and on the CPU
// backend before the model is served.
#pragma once

#include "absl/status/status.h"
#include "backends/backend.h"

namespace bitmill {

// OK when both give the same answers: the same bytes when `exact`, otherwise floats that lie as
// close as another order of float sums, and a sign that it turned now and then, can bring them.
// Internal says which output of which row differs; errors of running as they are. Both have the
// same signature. Runs batches of one row and of a few; `only_one`: one row alone, which will do
// for a plan that has passed before, with this driver and these kernels.
absl::Status CompareOnCanary(const Executable& tested, const Executable& trusted, bool exact,
                             bool only_one = false);

}  // namespace bitmill
