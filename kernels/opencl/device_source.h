// The text of the OpenCL kernels, as the program carries it.
#pragma once

#include <string_view>

namespace bitmill {

// step_params.inc and all .cl files, one behind the other. To be compiled as OpenCL C 1.2 with
// BITMILL_SUM defined (double or float) and, where the device divides exactly,
// BITMILL_EXACT_DIVIDE.
std::string_view OpenClSource();

}  // namespace bitmill
