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

}  // namespace bitmill
