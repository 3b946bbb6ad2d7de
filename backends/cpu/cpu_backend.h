// The CPU backend: SIMD kernels of kernels/ for low-bit layers, oneDNN for float ones.
#pragma once

#include <memory>

#include "backends/backend.h"
#include "base/fork_join.h"

namespace bitmill {

// `helpers`: whose threads may help a batch; outlives the backend and its executables. Null: a
// batch runs on the thread that calls Run().
std::unique_ptr<Backend> CreateCpuBackend(ForkJoin* helpers = nullptr);

}  // namespace bitmill
