// What a step costs, roughly: to decide whether it is worth sharing among threads.
#pragma once

#include "backends/cpu/step.h"
#include "kernels/isa.h"
#include "kernels/roofline/roofline.h"

namespace bitmill {

// Microseconds of one core for one row, within a factor of about two for steps that count: products
// at the rate that layers reach with the instruction set, and bytes of weights and values at those
// of the caches. `bitmill bench --steps` shows it beside the time that was measured.
double EstimateMicros(const StepInfo& info, Isa isa);

// What bounds the arithmetic of a step that has products.
Ceiling CeilingOf(const StepInfo& info);

}  // namespace bitmill
