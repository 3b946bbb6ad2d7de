// A backend around another one, with faults that are known: for measuring whether the analysis
// names them (bench/diagnosis.py). No part of the server that is delivered.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/backend.h"

namespace bitmill {

struct Faults {
  // Each execution holds one lock of the whole process for this long, and then computes; 0: none.
  int64_t lock_us = 0;
  // Each execution is busy for this long without a lock, and then computes: what the lock is
  // compared with.
  int64_t busy_us = 0;
  // Executions compute a multiple of so many rows; 1: what was asked for.
  int64_t pad_rows = 1;
};

std::unique_ptr<Backend> AddFaults(std::unique_ptr<Backend> backend, const Faults& faults);

}  // namespace bitmill
