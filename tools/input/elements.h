// Reading elements of any type.
#pragma once

#include <cstdint>

#include "base/tensor.h"

namespace bitmill {

// Element `index` (row-major) as a double; 64-bit integers above 2^53 are rounded. The tensor holds
// a fixed-size type.
double ElementAsDouble(const Tensor& tensor, int64_t index);

}  // namespace bitmill
