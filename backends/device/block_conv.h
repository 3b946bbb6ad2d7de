// The tables of the kernel bm_conv_block (kernels/opencl/conv_block.cl).
#pragma once

#include "backends/device/device_plan.h"
#include "backends/device/plan_writer.h"
#include "model/lowered.h"

namespace bitmill {

// Without the rows of a batch.
ConvShape ShapeOf(const LowBitConvOp& op, const DeviceValue& in, const DeviceValue& out);

// Of a convolution of bits with 1-bit weights, without groups: weights, edges, limits and items of
// a step whose window is set; `tile.run` is 1 .. max_run().
void SetBlocks(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& out,
               PlanWriter& writer, DeviceStep& step);

// What of it depends on the tile alone, for a step that has its tables.
void CutBlocks(const ConvTile& tile, const DeviceValue& out, DeviceStep& step);

// The accumulator of an output is `total` - 2 * (bits that differ): a bit is set when twice those
// are more than this, and inverted where flip is set. Past the last output never.
int64_t DifferenceLimit(const LowBitConvOp& op, int64_t total, int64_t output);

}  // namespace bitmill
