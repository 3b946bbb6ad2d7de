// All device code of the CUDA backend in one translation unit: the kernels of kernels/opencl, and
// those of tiles on tensor cores. bm_conv_block is left out: it is made for few threads with wide
// vectors, and no plan for CUDA has it.
#include "kernels/cuda/opencl_cuda.cuh"

#include "kernels/opencl/step_params.inc"

#include "kernels/opencl/common.cl"

#include "kernels/opencl/codes.cl"

#include "kernels/opencl/conv.cl"

#include "kernels/opencl/float.cl"

#include "kernels/cuda/tensor_core.cuh"

#include "kernels/cuda/conv_tile.cuh"

#include "kernels/cuda/few_rows.cuh"

#include "kernels/cuda/warp_group.cuh"

#include "kernels/cuda/conv_group.cuh"

#include "kernels/cuda/tile_kernels.inc"

#include "kernels/cuda/group_ceiling.cuh"

#include "kernels/cuda/ceiling.cuh"

// Three groups on a multiprocessor.
#define BITMILL_TILE_KERNEL(name, mode, warps_m)                                                 \
  extern "C" __global__ void __launch_bounds__(128, 3)                                           \
      name(uchar* arena, const uchar* constants, const int* all_params, int step, int rows) {    \
    if (BITMILL_B1_NATIVE || !TileShape<mode, warps_m>::bits) {                                  \
      bm_conv_tile<TileShape<mode, warps_m>>(arena, constants, all_params, step, rows);          \
    } else {                                                                                     \
      bm_trap();                                                                                 \
    }                                                                                            \
  }
BITMILL_TILE_KERNELS(BITMILL_TILE_KERNEL)

// Two groups on a multiprocessor: half of a thread's registers are sums.
#define BITMILL_GROUP_KERNEL(name, mode, outputs)                                             \
  extern "C" __global__ void __launch_bounds__(128, outputs == 128 ? 2 : 4)                    \
      name(uchar* arena, const uchar* constants, const int* all_params, int step, int rows) { \
    if constexpr (BITMILL_GROUP_NATIVE) {                                                     \
      bm_conv_group<GroupShape<mode, outputs>>(arena, constants, all_params, step, rows);     \
    } else {                                                                                  \
      bm_trap();                                                                              \
    }                                                                                         \
  }
BITMILL_GROUP_KERNELS(BITMILL_GROUP_KERNEL)

#define BITMILL_FEW_KERNEL(name, mode)                                                          \
  extern "C" __global__ void __launch_bounds__(128, 6)                                          \
      name(uchar* arena, const uchar* constants, const int* all_params, int step, int rows) {   \
    bm_few_rows<FewShape<mode>>(arena, constants, all_params, step, rows);                      \
  }
BITMILL_FEW_KERNELS(BITMILL_FEW_KERNEL)
