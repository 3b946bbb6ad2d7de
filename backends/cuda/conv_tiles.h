// How a CUDA device's convolutions are cut where nothing was measured.
#pragma once

#include "backends/device/device_plan.h"

namespace bitmill {

// `compute_capability`: 90 is 9.0. Octets, which give the most items.
inline ChooseConvTile CudaConvTiles(int compute_capability) {
  static_cast<void>(compute_capability);
  return [](const ConvShape&) { return ConvTile{}; };
}

}  // namespace bitmill
