// NVIDIA's management library, loaded when it is there: what the GPUs use of memory, time, power
// and energy. Declared here as far as it is used; a machine without it loses nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace bitmill {

inline constexpr char kNvmlLibrary[] = "libnvidia-ml.so.1";

// One look at a GPU; what the driver does not tell is -1.
struct GpuReading {
  int index = 0;
  std::string uuid = {}, name = {};
  int64_t memory_total_bytes = -1, memory_used_bytes = -1;
  double busy_share = -1, memory_busy_share = -1;  // of the driver's last sample period
  double watts = -1;
  double joules = -1;  // since the library was opened
  int64_t sm_clock_mhz = -1, memory_clock_mhz = -1;
  int64_t temperature_celsius = -1;
};

class NvmlApi;

// Used by one thread.
class Nvml {
 public:
  // NotFound: no such library; FailedPrecondition: it lacks a function, or cannot be initialized
  // (no driver), with its words.
  static absl::StatusOr<std::unique_ptr<Nvml>> Open(const std::string& library = kNvmlLibrary);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // Milliseconds for each GPU on some drivers: call it seldom.
  std::vector<GpuReading> Read();

 private:
  struct Gpu {
    void* handle = nullptr;
    int index = 0;
    std::string uuid = {}, name = {};
    int64_t last_mj = -1;  // the driver's counter; -1: it has none
    int64_t used_mj = 0;   // since opened
  };
  explicit Nvml(std::unique_ptr<NvmlApi> api);
  void FindGpus();
  GpuReading ReadGpu(Gpu& gpu) const;

  const std::unique_ptr<NvmlApi> api_;
  std::vector<Gpu> gpus_;
};

}  // namespace bitmill
