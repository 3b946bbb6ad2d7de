// The CPU backend: SIMD kernels of kernels/ for low-bit layers, oneDNN for float ones.
#pragma once

#include <memory>

#include "backends/backend.h"

namespace bitmill {

std::unique_ptr<Backend> CreateCpuBackend();

}  // namespace bitmill
