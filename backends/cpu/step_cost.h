// What a step costs, roughly: to decide whether it is worth sharing among threads.
#pragma once

#include "backends/cpu/step.h"
#include "kernels/isa.h"

namespace bitmill {

// Microseconds of one core for one row, within a factor of about two: products at a usual rate of
// the instruction set, and bytes at the speed of a cache that others use too.
double EstimateMicros(const StepInfo& info, Isa isa);

}  // namespace bitmill
