// Depthwise convolutions of bits, a kind of MakeBconvStep() (backends/cpu/steps.h).
#pragma once

#include "backends/cpu/conv_window.h"
#include "backends/cpu/steps.h"

namespace bitmill {

// Whether each channel has a window of its own and one output, and kernels/bdepth/bdepth.h takes
// it.
bool IsDepthwise(const ConvWindow& window);

// bits x 1-bit or ternary weights, where IsDepthwise(window). `op` and `output_code` have passed
// CheckEpilogue().
absl::StatusOr<StepPtr> MakeBdepthStep(const LowBitConvOp& op, const ConvWindow& window,
                                       const CodeInfo& output_code, const Operand& input,
                                       const Operand& output, StepBuilder& builder);

}  // namespace bitmill
