// The backends that a server offers its models.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "base/clock.h"
#include "base/fork_join.h"
#include "server/app.h"

namespace bitmill {

// CPU, OpenCL, CUDA, and "auto", which chooses for each batch; and models divided between these. A
// device is opened when a model asks for it first, or now when it is the default, options.backend;
// then errors are why it cannot be opened. "auto" takes what can be opened, a device that two
// drivers offer once; without any, it is the CPU. `helpers` as for CreateCpuBackend; `cpus`: that
// may be used.
absl::StatusOr<std::unique_ptr<Backend>> MakeComputeBackends(const ServeOptions& options, int cpus,
                                                             const Clock& clock, ForkJoin* helpers);

}  // namespace bitmill
