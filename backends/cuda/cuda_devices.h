// The devices of NVIDIA's driver, and whether the kernels can run on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cuda/cuda_api.h"

namespace bitmill {

inline constexpr int kCudaLeastCapability = 80;  // 8.0: products of bits in tensor cores

struct CudaDeviceInfo {
  int number = 0;  // as the driver counts
  CuDevice id = 0;
  std::string name;
  int capability = 0;  // 90 is 9.0
  int64_t multiprocessors = 0, clock_mhz = 0;
  int64_t memory_bytes = 0;
  int64_t memory_bytes_per_s = 0;  // by clock and width of its bus; 0: the driver does not say
  int64_t max_shared_bytes = 0;    // of a block
  bool integrated = false;         // shares the host's memory
  std::string problem;             // why the kernels cannot run on it; empty: they can

  std::string capability_text() const;  // "9.0"
};

// In the driver's order, usable or not. NotFound when there is none.
absl::StatusOr<std::vector<CudaDeviceInfo>> ListCudaDevices(const CudaApi& api);

// The device that `wanted` names: its number, or a part of its name, whatever the case; empty: the
// first usable one. NotFound lists what there is; FailedPrecondition when the one that is named
// cannot be used.
absl::StatusOr<CudaDeviceInfo> ChooseCudaDevice(const std::vector<CudaDeviceInfo>& devices,
                                                const std::string& wanted);

}  // namespace bitmill
