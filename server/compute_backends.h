// The backends that a server offers its models.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "base/fork_join.h"
#include "server/app.h"

namespace bitmill {

// CPU and OpenCL. A device is opened when a model asks for it first, or now when it is the default,
// options.backend; then errors are why it cannot be opened. `helpers` as for CreateCpuBackend.
absl::StatusOr<std::unique_ptr<Backend>> MakeComputeBackends(const ServeOptions& options,
                                                             ForkJoin* helpers);

}  // namespace bitmill
