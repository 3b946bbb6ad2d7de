#include "tests/kernels/cuda/tile_kernels.h"

#include <cstring>

#include "tests/backends/opencl/opencl_c.h"
#include "tests/kernels/cuda/warp_emulation.h"

namespace bitmill {
namespace {
namespace cuda_c {

using opencl_c::as_float, opencl_c::exp, opencl_c::log, opencl_c::pow, opencl_c::rint,
    opencl_c::sqrt, opencl_c::tanh, opencl_c::trunc, opencl_c::ceil, opencl_c::floor,
    opencl_c::fabs;
using opencl_c::uchar, opencl_c::ushort, opencl_c::uint, opencl_c::ulong;

#define BITMILL_B1_NATIVE 1
#define BITMILL_NO_UNROLL
#define BITMILL_UNROLL_FEW

int bm_thread() { return cuda_emulation::Thread(); }
int bm_tile_x() { return cuda_emulation::TileX(); }
int bm_tile_y() { return cuda_emulation::TileY(); }
void bm_sync() { cuda_emulation::Sync(); }
uint bm_shuffle_xor(const uint value, const int lanes) {
  return cuda_emulation::ShuffleXor(value, lanes);
}
int bm_count(const uint bits) { return __builtin_popcount(bits); }
uchar* bm_shared() { return cuda_emulation::Shared(); }

struct Quad {
  uint x, y, z, w;
};
Quad bm_load_quad(const uchar* shared) {
  Quad quad;
  std::memcpy(&quad, shared, sizeof(quad));
  return quad;
}
void bm_store_quad(uchar* shared, const Quad& quad) {
  std::memcpy(shared, &quad, sizeof(quad));
  cuda_emulation::Stored();
}
void bm_copy16(uchar* to, const uchar* from, const bool inside) {
  cuda_emulation::Copy(to, from, 16, inside);
}
void bm_copy8(uchar* to, const uchar* from, const bool inside) {
  cuda_emulation::Copy(to, from, 8, inside);
}
void bm_copy_commit() { cuda_emulation::Commit(); }
template <int pending>
void bm_copy_wait() {
  cuda_emulation::Wait(pending);
}
int bm_dot4(const uint a, const uint b, int c) {
  for (int i = 0; i < 32; i += 8) {
    c += static_cast<int>(a >> i & 255U) * static_cast<signed char>(b >> i & 255U);
  }
  return c;
}
void bm_products_done() { cuda_emulation::Done(); }
void bm_mma_bits(int (&c)[4], const uint a0, const uint a1, const uint a2, const uint a3,
                 const uint b0, const uint b1) {
  const uint a[] = {a0, a1, a2, a3}, b[] = {b0, b1};
  cuda_emulation::MmaBits(c, a, b);
}
void bm_mma_bytes(int (&c)[4], const uint a0, const uint a1, const uint a2, const uint a3,
                  const uint b0, const uint b1) {
  const uint a[] = {a0, a1, a2, a3}, b[] = {b0, b1};
  cuda_emulation::MmaBytes(c, a, b);
}

uint bm_shared_offset(const uchar* shared) { return cuda_emulation::SharedOffset(shared); }
void bm_group_publish() { cuda_emulation::Publish(); }
void bm_group_begin() { cuda_emulation::Begin(); }
void bm_group_commit() { cuda_emulation::CommitProducts(); }
template <int pending>
void bm_group_wait() {
  cuda_emulation::WaitProducts(pending);
}
void bm_group_sum(int&) {}
template <bool bits, int eights>
void bm_group_product(int (&c)[eights][4], const ulong a, const ulong b) {
  cuda_emulation::GroupProduct(bits, 8 * eights, c[0], a, b);
}

// The text of the kernels, as it is; OpenCL C is not this project's C++.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wshadow"
#include "kernels/opencl/step_params.inc"
//
#include "kernels/opencl/common.cl"
//
#include "kernels/cuda/conv_tile.cuh"
//
#include "kernels/cuda/few_rows.cuh"
//
#include "kernels/cuda/conv_group.cuh"
//
#include "kernels/cuda/group_ceiling.cuh"
//
#include "kernels/cuda/tile_kernels.inc"
#pragma GCC diagnostic pop

}  // namespace cuda_c

template <typename Shape>
TileKernel Make(const char* name, decltype(TileKernel::run) run) {
  return {name, Shape::pixels, Shape::outputs, Shape::threads, Shape::shared_bytes, run};
}

}  // namespace

const std::vector<TileKernel>& TileKernels() {
  using cuda_c::FewShape, cuda_c::GroupShape, cuda_c::TileShape, cuda_c::kOneBitTile,
      cuda_c::kTernaryTile, cuda_c::kSpreadTile, cuda_c::kCodeTile;
#define BITMILL_TILE_ENTRY(name, mode, warps_m) \
  Make<TileShape<mode, warps_m>>(#name, cuda_c::bm_conv_tile<TileShape<mode, warps_m>>),
#define BITMILL_GROUP_ENTRY(name, mode, outputs) \
  Make<GroupShape<mode, outputs>>(#name, cuda_c::bm_conv_group<GroupShape<mode, outputs>>),
#define BITMILL_FEW_ENTRY(name, mode) \
  Make<FewShape<mode>>(#name, cuda_c::bm_few_rows<FewShape<mode>>),
  // clang-format off
  static const std::vector<TileKernel> kKernels = {
      BITMILL_TILE_KERNELS(BITMILL_TILE_ENTRY)
      BITMILL_GROUP_KERNELS(BITMILL_GROUP_ENTRY)
      BITMILL_FEW_KERNELS(BITMILL_FEW_ENTRY)};
  // clang-format on
  return kKernels;
}

const TileKernel* FindTileKernel(const std::string& name) {
  for (const TileKernel& kernel : TileKernels()) {
    if (kernel.name == name) return &kernel;
  }
  return nullptr;
}

void RunTileKernel(const TileKernel& kernel, int grid_x, int grid_y, int shared_bytes,
                   unsigned char* arena, const unsigned char* constants, const int32_t* params,
                   int32_t step, int32_t rows) {
  for (int y = 0; y < grid_y; ++y) {
    for (int x = 0; x < grid_x; ++x) {
      cuda_emulation::RunGroup(x, y, kernel.threads, shared_bytes,
                               [&] { kernel.run(arena, constants, params, step, rows); });
    }
  }
}

std::vector<int> RunGroupCeiling(bool bits, int turns, std::vector<unsigned char>& lines) {
  std::vector<int> sums(128);
  cuda_emulation::RunGroup(0, 0, 128, cuda_c::kGroupCeilingBytes, [&] {
    unsigned char* const shared = cuda_c::bm_shared();
    sums[static_cast<size_t>(cuda_c::bm_thread())] =
        bits ? cuda_c::bm_group_ceiling_sum<true>(shared, turns)
             : cuda_c::bm_group_ceiling_sum<false>(shared, turns);
    if (cuda_c::bm_thread() == 0) lines.assign(shared, shared + cuda_c::kGroupCeilingBytes);
  });
  return sums;
}

}  // namespace bitmill
