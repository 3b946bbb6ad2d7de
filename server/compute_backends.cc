#include "server/compute_backends.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/auto_backend.h"
#include "backends/backend_set.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/opencl/opencl_backend.h"
#include "backends/parallel/parallel_backend.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace bitmill {

absl::StatusOr<std::unique_ptr<Backend>> MakeComputeBackends(const ServeOptions& options, int cpus,
                                                             const Clock& clock,
                                                             ForkJoin* helpers) {
  auto backends = std::make_unique<BackendSet>(CreateCpuBackend(helpers));
  OpenClOptions opencl;
  opencl.device = options.opencl_device;
  opencl.cache_folder = options.opencl_cache == "off" ? "" : options.opencl_cache;
  backends->Add("opencl",
                [opencl, &cpu = backends->first()] { return CreateOpenClBackend(opencl, cpu); });
  AutoOptions routing;
  routing.measure_ns = options.route_ms * 1'000'000;
  routing.cpu_lanes = cpus;
  backends->Add("auto", [routing, &set = *backends, &clock] {
    const absl::StatusOr<const Backend*> device = set.Find("opencl");
    if (!device.ok()) {
      LogInfo(absl::StrCat("backend auto: the CPU alone; ", device.status().message()));
    }
    return CreateAutoBackend(set.first(), device.ok() ? *device : nullptr, routing, clock);
  });
  BITMILL_RETURN_IF_ERROR(backends->SetDefault(options.backend));
  ParallelSettings parallel;
  parallel.measure_ns = options.route_ms * 1'000'000;
  return CreateParallelBackend(std::move(backends), helpers, parallel, clock);
}

}  // namespace bitmill
