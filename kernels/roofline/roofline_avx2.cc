// Loops in assembly, so that they are what they say: no load, copy or spill beside those written.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/roofline/roofline_loops.h"

// clang-format off
#define BITMILL_YMM_CLOBBERS "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", \
  "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

namespace bitmill {
namespace {

constexpr int64_t kVectorBits = 256;
alignas(64) constexpr uint8_t kTables[128] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};

}  // namespace

// Eight tables, each broadcast from memory and used for two vectors of 4-bit indices.
int64_t BitLookupMacsAvx2(int64_t turns) {
  const uint8_t* tables = kTables;
  __asm__ volatile(
      "vpxor %%ymm14, %%ymm14, %%ymm14\n vpxor %%ymm15, %%ymm15, %%ymm15\n"
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n"
      "vbroadcasti128 16*\\i(%1), %%ymm8\n"
      "vpshufb %%ymm14, %%ymm8, %%ymm9\n vpshufb %%ymm15, %%ymm8, %%ymm10\n"
      "vpaddb %%ymm9, %%ymm\\i, %%ymm\\i\n vpaddb %%ymm10, %%ymm\\i, %%ymm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : "r"(tables) : BITMILL_YMM_CLOBBERS);
  return 8 * 2 * 128;  // a lookup of 4 bits in each of 32 bytes
}

// A table counts two pixels in the halves of its bytes, so that a lookup serves both. Three lookups
// are summed before the halves part; each table serves two vectors of indices.
int64_t BitPairLookupMacsAvx2(int64_t turns) {
  const uint8_t* tables = kTables;
#define BITMILL_LOOKUPS(index, low, high) \
  "vpshufb %%ymm" #index ", %%ymm8, %%ymm4\n vpshufb %%ymm" #index ", %%ymm9, %%ymm5\n" \
  "vpshufb %%ymm" #index ", %%ymm10, %%ymm6\n vpaddb %%ymm4, %%ymm5, %%ymm5\n" \
  "vpaddb %%ymm5, %%ymm6, %%ymm6\n vpand %%ymm13, %%ymm6, %%ymm7\n" \
  "vpaddb %%ymm7, %%ymm" #low ", %%ymm" #low "\n vpsrlw $4, %%ymm6, %%ymm6\n" \
  "vpaddw %%ymm6, %%ymm" #high ", %%ymm" #high "\n"
  __asm__ volatile(
      "vpxor %%ymm14, %%ymm14, %%ymm14\n vpxor %%ymm15, %%ymm15, %%ymm15\n"
      "vpcmpeqb %%ymm13, %%ymm13, %%ymm13\n vpsrlw $12, %%ymm13, %%ymm13\n"
      "1:\n"
      ".rept 2\n"
      "vbroadcasti128 (%1), %%ymm8\n vbroadcasti128 16(%1), %%ymm9\n"
      "vbroadcasti128 32(%1), %%ymm10\n"
      BITMILL_LOOKUPS(14, 0, 1) BITMILL_LOOKUPS(15, 2, 3)
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : "r"(tables) : BITMILL_YMM_CLOBBERS);
#undef BITMILL_LOOKUPS
  return 2 * 2 * 3 * 2 * 128;  // a lookup of 4 bits of two pixels in each of 32 bytes
}

// Exclusive or, both halves of each byte looked up, bytes summed; into 64 bits every 16 vectors.
int64_t BitPopcountMacsAvx2(int64_t turns) {
  __asm__ volatile(
      "vpxor %%ymm15, %%ymm15, %%ymm15\n vpcmpeqb %%ymm13, %%ymm13, %%ymm13\n"
      "vpxor %%ymm14, %%ymm14, %%ymm14\n vpsrlw $12, %%ymm13, %%ymm13\n"
      "vpxor %%ymm12, %%ymm12, %%ymm12\n"
      "1:\n"
      ".rept 4\n"
      ".irp i, 0, 1, 2, 3\n"
      "vpxor %%ymm14, %%ymm15, %%ymm4\n"
      "vpand %%ymm13, %%ymm4, %%ymm5\n vpsrlw $4, %%ymm4, %%ymm4\n vpand %%ymm13, %%ymm4, %%ymm4\n"
      "vpshufb %%ymm5, %%ymm12, %%ymm5\n vpshufb %%ymm4, %%ymm12, %%ymm4\n"
      "vpaddb %%ymm4, %%ymm5, %%ymm5\n vpaddb %%ymm5, %%ymm\\i, %%ymm\\i\n"
      ".endr\n"
      ".endr\n"
      "vpsadbw %%ymm0, %%ymm13, %%ymm4\n vpaddq %%ymm4, %%ymm11, %%ymm11\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_YMM_CLOBBERS);
  return 16 * kVectorBits;
}

// Two products into 16 bits, summed there: what short weights allow.
int64_t Int8MacsAvx2(int64_t turns) {
  __asm__ volatile(
      "vpxor %%ymm14, %%ymm14, %%ymm14\n vpxor %%ymm15, %%ymm15, %%ymm15\n"
      "1:\n"
      ".rept 2\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n"
      "vpmaddubsw %%ymm14, %%ymm15, %%ymm8\n vpaddw %%ymm8, %%ymm\\i, %%ymm\\i\n"
      ".endr\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_YMM_CLOBBERS);
  return 2 * 8 * 32;
}

int64_t FloatMacsAvx2(int64_t turns) {
  __asm__ volatile(
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15\n"
      "vpxor %%ymm\\i, %%ymm\\i, %%ymm\\i\n"
      ".endr\n"
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n"
      "vfmadd231ps %%ymm14, %%ymm15, %%ymm\\i\n"
      ".endr\n"
      "dec %0\n jnz 1b\n"
      : "+r"(turns) : : BITMILL_YMM_CLOBBERS);
  return 12 * 8;
}

void ReadAvx2(const uint8_t* data, int64_t bytes) {
  int64_t turns = bytes / 512;
  if (turns == 0) return;
  __asm__ volatile(
      "1:\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n vmovdqa 32*\\i(%0), %%ymm\\i\n .endr\n"
      ".irp i, 0, 1, 2, 3, 4, 5, 6, 7\n vmovdqa 256+32*\\i(%0), %%ymm\\i\n .endr\n"
      "add $512, %0\n dec %1\n jnz 1b\n"
      : "+r"(data), "+r"(turns) : : BITMILL_YMM_CLOBBERS);
}

}  // namespace bitmill
