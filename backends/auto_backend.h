// The backend "auto": models on the CPU and on devices, each batch where it is predicted to be
// finished first (docs/decisions/0022-routing.md).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backends/backend.h"
#include "base/clock.h"

namespace bitmill {

struct AutoOptions {
  int64_t measure_ns = 200'000'000;  // of a model, at its load; see MeasureRoutes
  int cpu_lanes = 1;                 // batches that the CPU computes at a time
};

// Borrows all that the pointers point to. Without devices models are prepared, opened and run as
// `cpu` does it. A device that does not take a model is left out of its routing; a model that none
// takes, or that asks for a precision only the CPU has, is served by the CPU alone. A line in the
// log says why. At most BatchRouter::kMostBackends - 1 devices.
std::unique_ptr<Backend> CreateAutoBackend(const Backend& cpu, std::vector<const Backend*> devices,
                                           const AutoOptions& options, const Clock& clock);

}  // namespace bitmill
