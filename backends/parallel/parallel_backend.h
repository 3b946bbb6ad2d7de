// Models that are divided between executables (docs/decisions/0026-parallel.md), on the backends of
// a set; models that are not go to the set as they are.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/backend.h"
#include "backends/backend_set.h"
#include "base/clock.h"
#include "base/fork_join.h"

namespace bitmill {

struct ParallelSettings {
  // Of a model, at its load: for measuring the parts of a batch, balancing stages, and trying modes
  // where it is "auto". Compiling comes on top.
  int64_t measure_ns = 200'000'000;
};

// `team` (null: no helpers, so that parts run one after the other) and `clock` outlive the backend.
//
// A model with CompileOptions::parallel has a plan file of its own, with its lowered graph, how it
// was divided and what its parts have packed (backends/bundle_path.h). What parts cannot have
// leaves a model whole, with a warning in the log: precision fast, no layer that can be divided, no
// batches where rows were to be divided. A backend that cannot be had, or does not take its part,
// is an error. A part on a device that fails later is computed by the CPU.
std::unique_ptr<Backend> CreateParallelBackend(std::unique_ptr<BackendSet> set, ForkJoin* team,
                                               const ParallelSettings& settings,
                                               const Clock& clock);

}  // namespace bitmill
