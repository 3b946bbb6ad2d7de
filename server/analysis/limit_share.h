// How close to what the machine can do a model's executions came.
#pragma once

#include "server/analysis/observation.h"

namespace bitmill {

struct LimitShare {
  double compute = -1;  // of the core's arithmetic, 0 to 1; -1: not known
  double memory = -1;   // of the core's rate from where the weights come, 0 to 1; -1: not known
};

// `rows` were computed in `executions` executions that took `busy_ns` together.
//
//   compute = rows * compute_floor_ns / busy_ns
//   memory  = executions * weight_bytes / rate / busy_ns
//
// rate is that of DRAM, or where even that would have taken longer than busy_ns, of the slowest
// cache that would not: the weights then came from there. Both are of one core: executions that
// several cores share may exceed 1, and are shown as 1.
LimitShare ShareOfLimits(const ModelFacts& facts, const MachineLimits& limits, double rows,
                         double executions, double busy_ns);

}  // namespace bitmill
