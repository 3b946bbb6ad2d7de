// Loops in assembly, so that they are what they say: no load, copy or spill beside those written.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/roofline/roofline_loops.h"

// clang-format off
#define BITMILL_ZMM_CLOBBERS "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", \
  "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm20", "xmm21", "xmm30", \
  "xmm31"

namespace bitmill {

int64_t BitPopcountMacsAvx512Vpopcnt(int64_t turns) {
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13\n"
      "vpxorq %%zmm30, %%zmm31, %%zmm20\n vpopcntq %%zmm20, %%zmm21\n"
      "vpaddq %%zmm21, %%zmm\\i, %%zmm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_ZMM_CLOBBERS);
  return 14 * 512;
}

// mask and (a xor sign) in one vpternlogq; a comes from memory, as vpternlogq overwrites it.
int64_t TernaryBitMacsAvx512Vpopcnt(int64_t turns) {
  alignas(64) static constexpr uint64_t kActivations[14] = {};
  const uint64_t* activations = kActivations;
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13\n"
      "vpbroadcastq 8*\\i(%1), %%zmm20\n vpternlogq $0x28, %%zmm30, %%zmm31, %%zmm20\n"
      "vpopcntq %%zmm20, %%zmm21\n vpaddq %%zmm21, %%zmm\\i, %%zmm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : "r"(activations) : BITMILL_ZMM_CLOBBERS);
  return 14 * 512;
}

// Three products of 2 x 2 bits a byte: tables of 64 bytes by 6-bit indices, each table loaded for
// two vectors of indices, as BitLookupMacsAvx2 does. Nothing is widened.
int64_t TwoBitMacsAvx512Vpopcnt(int64_t turns) {
  alignas(64) static constexpr uint8_t kTables[7 * 64] = {};
  const uint8_t* tables = kTables;
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6\n"
      "vmovdqa64 64*\\i(%1), %%zmm14\n"
      "vpermb %%zmm14, %%zmm30, %%zmm20\n vpermb %%zmm14, %%zmm31, %%zmm21\n"
      "vpaddb %%zmm20, %%zmm\\i, %%zmm\\i\n vpaddb %%zmm21, %%zmm\\i, %%zmm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : "r"(tables) : BITMILL_ZMM_CLOBBERS, "xmm14");
  return 7 * 2 * 64 * 3;
}

// Four products into 32 bits.
int64_t Int8MacsAvx512Vpopcnt(int64_t turns) {
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_ZMM_CLOBBERS);
  return 12 * 64;
}

}  // namespace bitmill
