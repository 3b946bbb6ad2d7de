// A tensor and what its file or message calls it.
#pragma once

#include <string>

#include "base/tensor.h"

namespace bitmill {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

}  // namespace bitmill
