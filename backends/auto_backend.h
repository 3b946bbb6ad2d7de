// The backend "auto": models on the CPU and on a device, each batch where it is predicted to be
// finished first (docs/decisions/0022-routing.md).
#pragma once

#include <cstdint>
#include <memory>

#include "backends/backend.h"
#include "base/clock.h"

namespace bitmill {

struct AutoOptions {
  int64_t measure_ns = 200'000'000;  // of a model, at its load; see MeasureRoutes
  int cpu_lanes = 1;                 // batches that the CPU computes at a time
};

// Borrows all; `device` null: there is none, and models are prepared, opened and run as `cpu` does
// it. A model that the device does not take, or that asks for a precision only the CPU has, is
// served by the CPU alone, and a line in the log says why.
std::unique_ptr<Backend> CreateAutoBackend(const Backend& cpu, const Backend* device,
                                           const AutoOptions& options, const Clock& clock);

}  // namespace bitmill
