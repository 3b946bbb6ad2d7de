// The grid of a step's kernel.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "backends/device/device_plan.h"

namespace bitmill {

inline constexpr int64_t kCudaMaxGridX = 2147483647, kCudaMaxGridYZ = 65535;
inline constexpr int64_t kCudaFreeSharedBytes = 48 * 1024;  // more has to be asked for

// Blocks are lines of `threads`.
struct CudaLaunch {
  unsigned grid_x = 1, grid_y = 1, grid_z = 1;
  unsigned threads = 1;
  unsigned shared_bytes = 0;

  friend bool operator==(const CudaLaunch&, const CudaLaunch&) = default;
};

// Of a kernel by items, a thread each: lines of threads over a row's items, rows in z. Of a tiled
// kernel, the tiles of all pixels of all rows in x, those of outputs in y. Unimplemented when there
// are more blocks than a grid has.
absl::StatusOr<CudaLaunch> CudaLaunchOf(const DeviceStep& step, int64_t rows);

}  // namespace bitmill
