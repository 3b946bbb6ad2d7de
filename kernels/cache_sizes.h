// Sizes of this machine's caches, as one core sees them.
#pragma once

#include <stdint.h>

namespace bitmill {

struct CacheSizes {
  int64_t l1, l2, l3;  // bytes; data or unified; the third level is shared
};

// From Linux (/sys), the C library where that says nothing, or common sizes. Read once;
// thread-safe.
const CacheSizes& MachineCaches();

}  // namespace bitmill
