// How a device's convolutions are cut: where nothing was measured, and what there is to measure.
#pragma once

#include <vector>

#include "backends/device/device_plan.h"
#include "backends/opencl/cl_devices.h"

namespace bitmill {

// Blocks, made for few threads with wide vectors, on CPUs; octets, which give more items,
// elsewhere.
inline ChooseConvTile ConvTilesFor(const ClDeviceInfo& info) {
  if ((info.type & CL_DEVICE_TYPE_CPU) != 0) return DefaultConvTile;
  return [](const ConvShape&) { return ConvTile{}; };
}

// Every tile that the kernels have for this shape, each once.
std::vector<ConvTile> PossibleTiles(const ConvShape& shape);

}  // namespace bitmill
