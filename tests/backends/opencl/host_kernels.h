// The device kernels compiled as C++, run item by item on the host: kernels and plans are tested,
// also under sanitizers, where there is no device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace bitmill {

bool HasHostKernel(const std::string& name);

// Runs the kernel for every item of the three-dimensional range; false when there is no kernel of
// this name.
bool RunHostKernel(const std::string& name, unsigned char* arena, const unsigned char* constants,
                   const int32_t* params, int32_t step, const size_t* range);

}  // namespace bitmill
