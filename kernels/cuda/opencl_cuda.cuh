// What the OpenCL C of kernels/opencl means in CUDA, so that both devices run the same text. Address
// spaces are nothing; helper functions become device functions; a kernel has one argument more, the
// rows of the batch, which only kernels of tiles need.
//
// Dimension 0 of the range are the items of a row, dimension 2 the row (backends/device/device_plan.h).
#pragma once

#define BITMILL_FUNCTION __device__ __forceinline__
#define BITMILL_UNROLL _Pragma("unroll")  // arrays that are indexed stay in registers
#define BITMILL_UNROLL_FEW _Pragma("unroll 4")  // several loads at a time
#define BITMILL_NO_UNROLL _Pragma("unroll 1")
#define BITMILL_KERNEL(name)                                                               \
  extern "C" __global__ void name(uchar* arena, const uchar* constants, const int* all_params, \
                                  const int step, const int /*rows*/)
#define __global
#define BITMILL_INT8 signed char
// Sums of float layers in the reference's order and precision: bit for bit the same on every card.
// Chips for graphics do 1/64 as many of them a second as in single precision, A100 and H100 half.
#define BITMILL_SUM double
#define BITMILL_EXACT_DIVIDE 1  // nvcc's own division and square root, unless --use_fast_math

using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned int;
using ulong = unsigned long;
static_assert(sizeof(ulong) == 8, "kernels read words of 64 bits");
struct half {
  ushort bits;
};

__device__ __forceinline__ unsigned get_global_id(const int dimension) {
  if (dimension == 0) return blockIdx.x * blockDim.x + threadIdx.x;
  return dimension == 1 ? 0 : blockIdx.z;
}
__device__ __forceinline__ unsigned get_global_size(int) { return gridDim.x * blockDim.x; }

__device__ __forceinline__ ulong popcount(const ulong bits) {
  return static_cast<ulong>(__popcll(bits));
}
__device__ __forceinline__ float as_float(const int bits) { return __int_as_float(bits); }
__device__ __forceinline__ float as_float(const uint bits) { return __uint_as_float(bits); }
__device__ __forceinline__ float vload_half(const size_t i, const half* from) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(from[i].bits));
  return value;
}
