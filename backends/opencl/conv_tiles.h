// How a device's convolutions are cut where nothing was measured.
#pragma once

#include "backends/device/device_plan.h"
#include "backends/opencl/cl_devices.h"

namespace bitmill {

// Blocks, made for few threads with wide vectors, on CPUs; octets, which give more items,
// elsewhere.
inline ChooseConvTile ConvTilesFor(const ClDeviceInfo& info) {
  if ((info.type & CL_DEVICE_TYPE_CPU) != 0) return DefaultConvTile;
  return [](const ConvShape&) { return ConvTile{}; };
}

}  // namespace bitmill
