#include "tests/backends/cpu/allocation_hook.h"

#include <cerrno>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    defined(BITMILL_THREAD_SANITIZER)
#define BITMILL_OWN_ALLOCATOR 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BITMILL_OWN_ALLOCATOR 0
#endif
#endif
#ifndef BITMILL_OWN_ALLOCATOR
#define BITMILL_OWN_ALLOCATOR 1
#endif

namespace bitmill {
namespace {
thread_local int64_t allocations = 0;
}  // namespace

int64_t ThreadAllocations() { return allocations; }
bool CountsAllocations() { return BITMILL_OWN_ALLOCATOR != 0; }

}  // namespace bitmill

#if BITMILL_OWN_ALLOCATOR
// glibc's own entry points; operator new comes through malloc.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* old, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) {
  ++bitmill::allocations;
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  ++bitmill::allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* old, size_t bytes) {
  ++bitmill::allocations;
  return __libc_realloc(old, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  ++bitmill::allocations;
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** result, size_t alignment, size_t bytes) {
  ++bitmill::allocations;
  *result = __libc_memalign(alignment, bytes);
  return *result == nullptr ? ENOMEM : 0;
}
}
#endif
