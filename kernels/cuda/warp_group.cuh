// The instructions of compute capability 9.0 that conv_group.cuh is written with: products of four
// warps at a time, which run beside them and read both operands from shared memory. Tests have the
// same functions on the host (tests/kernels/cuda/warp_emulation.h).
//
// Only machine code for 9.0a has them; elsewhere kernels that want them stop at once, and
// backends/cuda/conv_tiles.h never chooses them there.
#pragma once

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define BITMILL_GROUP_NATIVE 1
#else
#define BITMILL_GROUP_NATIVE 0
#endif

// A pointer into shared memory, as the instructions count.
BITMILL_FUNCTION uint bm_shared_offset(const uchar* shared) {
  return static_cast<uint>(__cvta_generic_to_shared(shared));
}

// What the thread wrote to shared memory, copies that it waited for included, is seen by products
// behind the next bm_sync().
BITMILL_FUNCTION void bm_group_publish() {
#if BITMILL_GROUP_NATIVE
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Comes before the first of some products, also when their sums were written otherwise.
BITMILL_FUNCTION void bm_group_begin() {
#if BITMILL_GROUP_NATIVE
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

BITMILL_FUNCTION void bm_group_commit() {
#if BITMILL_GROUP_NATIVE
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Waits until at most `pending` of the last committed groups of products are unfinished.
template <int pending>
BITMILL_FUNCTION void bm_group_wait() {
#if BITMILL_GROUP_NATIVE
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
#endif
}

// A sum that was waited for: nothing that reads it moves before this.
BITMILL_FUNCTION void bm_group_sum(int& sum) { asm volatile("" : "+r"(sum)::"memory"); }

#define BITMILL_SUM4(n) "+r"(c[n][0]), "+r"(c[n][1]), "+r"(c[n][2]), "+r"(c[n][3])
#define BITMILL_SUM16(n) BITMILL_SUM4(n), BITMILL_SUM4(n + 1), BITMILL_SUM4(n + 2), BITMILL_SUM4(n + 3)
#define BITMILL_SUM32(n) BITMILL_SUM16(n), BITMILL_SUM16(n + 4)
#define BITMILL_NAMES32                                                                    \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
  "%24,%25,%26,%27,%28,%29,%30,%31"
#define BITMILL_NAMES64                                                                         \
  BITMILL_NAMES32                                                                               \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53," \
  "%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// The predicate: sums go on from what they hold.
#define BITMILL_PRODUCT(form, names, a, b)                                              \
  "{\n.reg .pred go_on;\nsetp.eq.u32 go_on, 0, 0;\nwgmma.mma_async.sync.aligned." form \
  " {" names "}, " a ", " b ", go_on;\n}"

// c[64][outputs] += popcount(a[64][256] and b[outputs][256]), bits, or += a[64][32] * b[outputs][32],
// unsigned by signed bytes. `a` and `b` are descriptors (bm_group_matrix). A warp's sums are rows 16
// warp .. + 15, eight columns after eight, in lanes as those of bm_mma_bits.
template <bool bits>
BITMILL_FUNCTION void bm_group_product(int (&c)[8][4], const ulong a, const ulong b) {
#if BITMILL_GROUP_NATIVE
  if constexpr (bits) {
    asm volatile(BITMILL_PRODUCT("m64n64k256.s32.b1.b1.and.popc", BITMILL_NAMES32, "%32", "%33")
                 : BITMILL_SUM32(0)
                 : "l"(a), "l"(b));
  } else {
    asm volatile(BITMILL_PRODUCT("m64n64k32.s32.u8.s8", BITMILL_NAMES32, "%32", "%33")
                 : BITMILL_SUM32(0)
                 : "l"(a), "l"(b));
  }
#endif
}
template <bool bits>
BITMILL_FUNCTION void bm_group_product(int (&c)[16][4], const ulong a, const ulong b) {
#if BITMILL_GROUP_NATIVE
  if constexpr (bits) {
    asm volatile(BITMILL_PRODUCT("m64n128k256.s32.b1.b1.and.popc", BITMILL_NAMES64, "%64", "%65")
                 : BITMILL_SUM32(0), BITMILL_SUM32(8)
                 : "l"(a), "l"(b));
  } else {
    asm volatile(BITMILL_PRODUCT("m64n128k32.s32.u8.s8", BITMILL_NAMES64, "%64", "%65")
                 : BITMILL_SUM32(0), BITMILL_SUM32(8)
                 : "l"(a), "l"(b));
  }
#endif
}
