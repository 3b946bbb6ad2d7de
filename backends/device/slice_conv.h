// The tables of the kernel bm_conv_slices (kernels/opencl/conv_slices.cl).
#pragma once

#include "backends/device/device_plan.h"
#include "backends/device/plan_writer.h"
#include "model/lowered.h"

namespace bitmill {

// Of a convolution whose shape has_slices(): weights, limits by case, and items of a step whose
// window is set. `tile.lines` and `tile.blocks` are cut to what an item can hold.
void SetSlices(const LowBitConvOp& op, const ConvTile& tile, const DeviceValue& in,
               const DeviceValue& out, PlanWriter& writer, DeviceStep& step);

// What of it depends on the tile alone, for a step that has its tables.
void CutSlices(const ConvTile& tile, const DeviceValue& out, DeviceStep& step);

}  // namespace bitmill
