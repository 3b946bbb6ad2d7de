// How fast a device computes a binary layer, beside how fast it could.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/device/device_stream.h"

namespace bitmill {

// A 3 x 3 convolution of bits, as many channels out as in, thresholds behind it, 8 rows.
struct ConvSpeed {
  int64_t side = 0, channels = 0;
  double macs_per_s = 0.0;
  std::string tile;  // the fastest of the device's, as ConvTile::Text() has it
};

// The kernel that counts by products of groups of warps; its work groups are of kCountGroup items.
inline constexpr char kCountGroups[] = "bm_count_group_bits";
inline constexpr int32_t kCountGroup = 128;

// 1-bit multiply-accumulates a second.
struct DeviceSpeed {
  double count_bits = 0.0;  // xor and count of words in registers, in the fastest of several ways:
                            // no kernel by items can be faster; 0: the device has no such kernels
  double product_bits = 0.0;  // the same on tensor cores, or of bytes where these multiply no bits;
                              // 0: the device has none
  std::vector<ConvSpeed> convolutions;  // the four sizes of residual networks

  double limit() const { return count_bits > product_bits ? count_bits : product_bits; }
};

// Runs each a few times, for a fraction of a second, after compiling them; the fastest counts.
// Errors of the device.
absl::StatusOr<DeviceSpeed> MeasureDeviceSpeed(const std::shared_ptr<const PlanDevice>& device);

}  // namespace bitmill
