#include "backends/cuda/cuda_launch.h"

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

constexpr int64_t kItemThreads = 256;

int64_t Tiles(int64_t count, int64_t tile) { return (count + tile - 1) / tile; }

}  // namespace

absl::StatusOr<CudaLaunch> CudaLaunchOf(const DeviceStep& step, int64_t rows) {
  int64_t x = 1, y = 1, z = 1;
  CudaLaunch launch;
  if (step.tiles.threads == 0) {
    const int64_t threads = step.group_items > 0 ? step.group_items : kItemThreads;
    launch.threads = static_cast<unsigned>(threads);
    x = Tiles(step[device::kItems], threads);
    z = rows;
  } else {
    const int64_t pixels = int64_t{step[device::kOutHeight]} * step[device::kOutWidth];
    launch.threads = static_cast<unsigned>(step.tiles.threads);
    launch.shared_bytes = static_cast<unsigned>(step.tiles.shared_bytes);
    x = Tiles(rows * pixels, step.tiles.pixels);
    y = Tiles(step[device::kOutChannels], step.tiles.outputs);
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
