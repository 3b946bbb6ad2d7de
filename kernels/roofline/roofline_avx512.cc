// Loops in assembly, so that they are what they say: no load, copy or spill beside those written.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/roofline/roofline_loops.h"

// clang-format off
#define BITMILL_ZMM_CLOBBERS "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", \
  "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", \
  "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", \
  "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"

namespace bitmill {

// Eight exclusive ors, seven full adders of two vpternlog, one popcount by bytes.
int64_t BitCarrySaveMacsAvx512(int64_t turns) {
  __asm__ volatile(
      "vpternlogd $0xff, %%zmm29, %%zmm29, %%zmm29\n vpsrlw $12, %%zmm29, %%zmm29\n"
      "1:\n"
      ".irp i, 16, 17, 18, 19, 20, 21, 22, 23\n"
      "vpxorq %%zmm30, %%zmm31, %%zmm\\i\n"
      ".endr\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6\n"
      "vmovdqa64 %%zmm\\i, %%zmm24\n"
      "vpternlogq $0x96, %%zmm16, %%zmm17, %%zmm\\i\n vpternlogq $0xe8, %%zmm18, %%zmm19, %%zmm24\n"
      ".endr\n"
      "vpandq %%zmm29, %%zmm24, %%zmm25\n vpsrlw $4, %%zmm24, %%zmm26\n"
      "vpandq %%zmm29, %%zmm26, %%zmm26\n"
      "vpshufb %%zmm25, %%zmm28, %%zmm25\n vpshufb %%zmm26, %%zmm28, %%zmm26\n"
      "vpaddb %%zmm25, %%zmm26, %%zmm26\n vpaddb %%zmm26, %%zmm8, %%zmm8\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_ZMM_CLOBBERS);
  return 8 * 512;
}

// Exclusive or, both halves of each byte looked up, bytes summed.
int64_t BitPopcountMacsAvx512(int64_t turns) {
  __asm__ volatile(
      "vpternlogd $0xff, %%zmm29, %%zmm29, %%zmm29\n vpsrlw $12, %%zmm29, %%zmm29\n"
      "1:\n"
      ".rept 2\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n"
      "vpxorq %%zmm30, %%zmm31, %%zmm20\n"
      "vpandq %%zmm29, %%zmm20, %%zmm21\n vpsrlw $4, %%zmm20, %%zmm22\n"
      "vpandq %%zmm29, %%zmm22, %%zmm22\n"
      "vpshufb %%zmm21, %%zmm28, %%zmm21\n vpshufb %%zmm22, %%zmm28, %%zmm22\n"
      "vpaddb %%zmm21, %%zmm22, %%zmm22\n vpaddb %%zmm22, %%zmm\\i, %%zmm\\i\n"
      ".endr\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_ZMM_CLOBBERS);
  return 16 * 512;
}

// Two products into 16 bits, summed there: what short weights allow.
int64_t Int8MacsAvx512(int64_t turns) {
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n"
      "vpmaddubsw %%zmm30, %%zmm31, %%zmm20\n vpaddw %%zmm20, %%zmm\\i, %%zmm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_ZMM_CLOBBERS);
  return 12 * 64;
}

int64_t FloatMacsAvx512(int64_t turns) {
  __asm__ volatile(
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 30, 31\n"
      "vpxorq %%zmm\\i, %%zmm\\i, %%zmm\\i\n"
      ".endr\n"
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n"
      "vfmadd231ps %%zmm30, %%zmm31, %%zmm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_ZMM_CLOBBERS);
  return 12 * 16;
}

void ReadAvx512(const uint8_t* data, int64_t bytes) {
  int64_t turns = bytes / 512;
  if (turns == 0) return;
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n vmovdqa64 64*\\i(%0), %%zmm\\i\n .endr\n"
      "add $512, %0\n dec %1\n jnz 1b\n"
      : "+r"(data), "+r"(turns) : : BITMILL_ZMM_CLOBBERS);
}

}  // namespace bitmill
