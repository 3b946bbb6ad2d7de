#include "server/compute_backends.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/auto_backend.h"
#include "backends/backend_set.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/opencl/opencl_backend.h"
#include "backends/parallel/parallel_backend.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// What "auto" has beside the CPU.
std::vector<const Backend*> DevicesOf(const BackendSet& set) {
  std::vector<const Backend*> devices;
  std::string missing;
  for (const char* name : {"cuda", "opencl"}) {
    const absl::StatusOr<const Backend*> device = set.Find(name);
    if (!device.ok()) {
      absl::StrAppend(&missing, "; ", device.status().message());
      continue;
    }
    // NVIDIA's OpenCL has the devices of CUDA, under the same names: to route between both would be
    // to compute every batch beside another one.
    const bool known = std::ranges::any_of(devices, [&](const Backend* other) {
      return other->device_name() == (*device)->device_name();
    });
    if (known) {
      LogInfo(absl::StrCat("backend auto: without ", name, ", whose device ",
                           EscapeForLog((*device)->device_name()), " it has already"));
    } else {
      devices.push_back(*device);
    }
  }
  if (devices.empty()) LogInfo(absl::StrCat("backend auto: the CPU alone", missing));
  return devices;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeComputeBackends(const ServeOptions& options, int cpus,
                                                             const Clock& clock,
                                                             ForkJoin* helpers) {
  auto backends = std::make_unique<BackendSet>(CreateCpuBackend(helpers));
  OpenClOptions opencl;
  opencl.device = options.opencl_device;
  opencl.cache_folder = options.opencl_cache == "off" ? "" : options.opencl_cache;
  backends->Add("opencl",
                [opencl, &cpu = backends->first()] { return CreateOpenClBackend(opencl, cpu); });
  CudaOptions cuda;
  cuda.device = options.cuda_device;
  backends->Add("cuda", [cuda, &cpu = backends->first()] { return CreateCudaBackend(cuda, cpu); });
  AutoOptions routing;
  routing.measure_ns = options.route_ms * 1'000'000;
  routing.cpu_lanes = cpus;
  backends->Add("auto", [routing, &set = *backends, &clock] {
    return CreateAutoBackend(set.first(), DevicesOf(set), routing, clock);
  });
  BITMILL_RETURN_IF_ERROR(backends->SetDefault(options.backend));
  ParallelSettings parallel;
  parallel.measure_ns = options.route_ms * 1'000'000;
  return CreateParallelBackend(std::move(backends), helpers, parallel, clock);
}

}  // namespace bitmill
