// The instructions of tile kernels, each a function: what conv_tile.cuh and few_rows.cuh are written with. Tests have
// the same functions on the host, with the fragments as PTX documents them
// (tests/kernels/cuda/warp_emulation.h).
//
// b1 products are native from compute capability 8.0 to 9.0. Where they are emulated, dozens of
// instructions a product, kernels that want them stop at once; backends/cuda/conv_tiles.h never
// chooses them there. Of the two forms only `and` is native on 9.0.
#pragma once

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 1000
#define BITMILL_B1_NATIVE 1
#else
#define BITMILL_B1_NATIVE 0
#endif

BITMILL_FUNCTION int bm_thread() { return static_cast<int>(threadIdx.x); }
BITMILL_FUNCTION int bm_tile_x() { return static_cast<int>(blockIdx.x); }
BITMILL_FUNCTION int bm_tile_y() { return static_cast<int>(blockIdx.y); }
BITMILL_FUNCTION void bm_sync() { __syncthreads(); }
BITMILL_FUNCTION uint bm_shuffle_xor(const uint value, const int lanes) {
  return __shfl_xor_sync(0xffffffffu, value, lanes);
}
BITMILL_FUNCTION int bm_count(const uint bits) { return __popc(bits); }
BITMILL_FUNCTION void bm_trap() { __trap(); }

// The group's shared memory, aligned to 1024 bytes.
extern __shared__ __align__(1024) uchar bm_shared_memory[];
BITMILL_FUNCTION uchar* bm_shared() { return bm_shared_memory; }

struct Quad {
  uint x, y, z, w;
};
BITMILL_FUNCTION Quad bm_load_quad(const uchar* shared) {
  const uint4 v = *reinterpret_cast<const uint4*>(shared);
  return {v.x, v.y, v.z, v.w};
}
BITMILL_FUNCTION void bm_store_quad(uchar* shared, const Quad& q) {
  *reinterpret_cast<uint4*>(shared) = make_uint4(q.x, q.y, q.z, q.w);
}

// Copies to shared memory that run beside the computation; nothing is read and zeros are written
// unless `inside`. `from` is always an address that may be read.
BITMILL_FUNCTION void bm_copy16(uchar* to, const uchar* from, const bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(inside ? 16 : 0)
               : "memory");
}
BITMILL_FUNCTION void bm_copy8(uchar* to, const uchar* from, const bool inside) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(
                   static_cast<uint>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(inside ? 8 : 0)
               : "memory");
}
BITMILL_FUNCTION void bm_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` of the thread's last groups of copies are unfinished.
template <int pending>
BITMILL_FUNCTION void bm_copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// c[16][8] += popcount(a[16][256] and b[256][8]), bits.
BITMILL_FUNCTION void bm_mma_bits(int (&c)[4], const uint a0, const uint a1, const uint a2,
                                  const uint a3, const uint b0, const uint b1) {
#if BITMILL_B1_NATIVE
  asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}

// c + the sum of a * b over four unsigned bytes of a and signed ones of b.
BITMILL_FUNCTION int bm_dot4(const uint a, const uint b, const int c) {
  int sum;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
  return sum;
}

// To be called before the sums of products are read.
BITMILL_FUNCTION void bm_products_done() {}

// c[16][8] += a[16][32] * b[32][8], unsigned by signed bytes.
BITMILL_FUNCTION void bm_mma_bytes(int (&c)[4], const uint a0, const uint a1, const uint a2,
                                   const uint a3, const uint b0, const uint b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
