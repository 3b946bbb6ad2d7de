#include "server/compute_backends.h"

#include <utility>

#include "backends/backend_set.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/opencl/opencl_backend.h"
#include "base/status_macros.h"

namespace bitmill {

absl::StatusOr<std::unique_ptr<Backend>> MakeComputeBackends(const ServeOptions& options,
                                                             ForkJoin* helpers) {
  auto backends = std::make_unique<BackendSet>(CreateCpuBackend(helpers));
  OpenClOptions opencl;
  opencl.device = options.opencl_device;
  opencl.cache_folder = options.opencl_cache == "off" ? "" : options.opencl_cache;
  backends->Add("opencl",
                [opencl, &cpu = backends->first()] { return CreateOpenClBackend(opencl, cpu); });
  BITMILL_RETURN_IF_ERROR(backends->SetDefault(options.backend));
  return backends;
}

}  // namespace bitmill
