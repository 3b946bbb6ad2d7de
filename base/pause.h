// For loops that wait for another core: leaves execution units, and power, to the other
// hyper-thread.
#pragma once

namespace bitmill {

inline void CpuPause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace bitmill
