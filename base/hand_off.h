// Tells ThreadSanitizer that what one thread did before HandOff(tag) happens before what another
// does after TakeOver(tag), where a library in between synchronises but is not built with it. Does
// nothing, and costs nothing, in every other build.
#pragma once

// The build defines BITMILL_THREAD_SANITIZER; without it clang can be asked.
#if !defined(BITMILL_THREAD_SANITIZER) && defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BITMILL_THREAD_SANITIZER 1
#endif
#endif

#ifdef BITMILL_THREAD_SANITIZER
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
// For a function that reads what a library carried over, before it can call TakeOver.
#define BITMILL_NO_THREAD_SANITIZER __attribute__((no_sanitize("thread")))
#else
#define BITMILL_NO_THREAD_SANITIZER
#endif

namespace bitmill {

inline void HandOff([[maybe_unused]] const void* tag) {
#ifdef BITMILL_THREAD_SANITIZER
  __tsan_release(const_cast<void*>(tag));
#endif
}

inline void TakeOver([[maybe_unused]] const void* tag) {
#ifdef BITMILL_THREAD_SANITIZER
  __tsan_acquire(const_cast<void*>(tag));
#endif
}

}  // namespace bitmill
