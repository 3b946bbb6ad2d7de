// Counts heap allocations of the calling thread, to prove that running a model makes none.
#pragma once

#include <cstdint>

namespace bitmill {

// Calls of malloc, calloc, realloc, aligned_alloc, posix_memalign and operator new by this thread
// so far. Only in binaries that link allocation_hook.cc; 0 forever under a sanitizer, whose own
// allocator stays in place.
int64_t ThreadAllocations();
bool CountsAllocations();

}  // namespace bitmill
