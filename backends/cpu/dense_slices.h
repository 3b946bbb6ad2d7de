// A dense layer of many weights as slices of its output channels, so that threads can share a batch
// of one row: each slice is a low-bit layer of its own over the same input.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "backends/cpu/step.h"
#include "backends/cpu/step_builder.h"
#include "backends/cpu/steps.h"
#include "model/lowered.h"

namespace bitmill {

// Into how many slices the layer is cut; 1: it stays whole. Depends on nothing but the layer, so
// that a plan is the same for every number of threads.
int64_t DenseSlices(const LowBitConvOp& op, const BufferLayout& output);

// `make` makes the step of a slice, which writes to its part of the output.
using MakeSliceStep =
    absl::FunctionRef<absl::StatusOr<StepPtr>(const LowBitConvOp& slice, const Operand& output)>;
absl::StatusOr<StepPtr> MakeSlicedStep(const LowBitConvOp& op, int64_t slices,
                                       const Operand& output, StepBuilder& builder,
                                       MakeSliceStep make);

}  // namespace bitmill
