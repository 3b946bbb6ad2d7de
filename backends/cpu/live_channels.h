// Input channels that a pruned convolution does not read are left out before it: what remains is a
// smaller convolution, dense or sparse, over a copy of the others.
//
// Blocks of weights are empty only when all channels of a word (or unit) are; whole channels that
// were pruned here and there leave none empty. A pixel is copied once and then read by every tap
// and output, so the copy costs a percent or two.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cpu/step_builder.h"
#include "backends/cpu/steps.h"
#include "model/lowered.h"

namespace bitmill {

// The channels with a weight that is not zero, ascending, where a copy of them alone pays: it saves
// a fifth of what the layer's empty blocks leave. Otherwise empty. `bits`: activations are. Errors
// are those of StepBuilder::FromOthers.
absl::StatusOr<std::vector<int32_t>> LiveChannelsToCopy(const LowBitConvOp& op, bool bits,
                                                        StepBuilder& builder);

// The same convolution over `channels` only; without the elements of its weights where `op` is.
LowBitConvOp WithChannels(const LowBitConvOp& op, const std::vector<int32_t>& channels);

// Copies `channels` of each pixel of bits or codes (not tight) of `input` to `output`.
StepPtr MakeLiveChannelsStep(const Operand& input, const Operand& output,
                             const std::vector<int32_t>& channels, const StepBuilder& builder);

}  // namespace bitmill
