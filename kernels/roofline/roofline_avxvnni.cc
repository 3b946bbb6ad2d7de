#include <immintrin.h>
#include <stdint.h>

#include "kernels/roofline/roofline_loops.h"

namespace bitmill {

// Four products into 32 bits; in assembly, so that it is what it says.
int64_t Int8MacsAvxVnni(int64_t turns) {
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns)
      :
      : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
        "xmm9", "xmm10", "xmm11", "xmm14", "xmm15");
  return 12 * 32;
}

}  // namespace bitmill
