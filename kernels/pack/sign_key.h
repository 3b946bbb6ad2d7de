// Thresholds of floats as keys of kernels/pack/pack.h.
#pragma once

#include <cstdint>

#include "kernels/pack/pack.h"

namespace bitmill {

struct SignKey {
  int16_t key = 0;
  bool never =
      false;  // no number reaches it: then every number reaches `key`, and the bit is inverted
};

// Of the smallest number of the source that is at least `threshold`; never for not a number. A
// number that is not one reaches neither, as it has to: `never` is said of integers only, for
// floats the key is out of reach.
SignKey SignKeyOf(PackSource source, float threshold);

}  // namespace bitmill
