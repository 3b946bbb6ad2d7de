#include "backends/cuda/cuda_launch.h"

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

constexpr int64_t kItemThreads = 256;

}  // namespace

absl::StatusOr<CudaLaunch> CudaLaunchOf(const DeviceStep& step, int64_t rows) {
  int64_t x = 1, y = 1, z = 1;
  CudaLaunch launch;
  const DeviceTiles& tiles = step.tiles_of(rows);
  if (tiles.threads == 0) {
    const int64_t threads = step.group_items > 0 ? step.group_items : kItemThreads;
    launch.threads = static_cast<unsigned>(threads);
    x = (step[device::kItems] + threads - 1) / threads;
    z = rows;
  } else {
    launch.threads = static_cast<unsigned>(tiles.threads);
    launch.shared_bytes = static_cast<unsigned>(tiles.shared_bytes);
    const auto groups = step.groups_of(rows);
    x = groups[0];
    y = groups[1];
  }
  if (x > kCudaMaxGridX || y > kCudaMaxGridYZ || z > kCudaMaxGridYZ) {
    return absl::UnimplementedError(absl::StrCat("step ", step.name, " of ", rows,
                                                 " rows takes a grid of ", x, " x ", y, " x ", z,
                                                 " blocks"));
  }
  launch.grid_x = static_cast<unsigned>(x);
  launch.grid_y = static_cast<unsigned>(y);
  launch.grid_z = static_cast<unsigned>(z);
  return launch;
}

}  // namespace bitmill
