// What the OpenCL C of kernels/opencl means on the host: address spaces are nothing, functions are
// those of C++, and the item that runs is three thread-local numbers.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"

#define __kernel static
#define __global
#define BITMILL_INT8 signed char
#define BITMILL_SUM double
#define BITMILL_EXACT_DIVIDE 1

namespace bitmill::opencl_c {

using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned int;
using ulong = unsigned long;
struct half {
  ushort bits;
};

inline thread_local size_t current_item[3];
inline thread_local size_t current_range[3];
inline size_t get_global_id(uint dimension) { return current_item[dimension]; }
inline size_t get_global_size(uint dimension) { return current_range[dimension]; }

inline ulong popcount(ulong bits) { return static_cast<ulong>(__builtin_popcountl(bits)); }
inline float as_float(int bits) {
  float value = 0.0F;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline float as_float(uint bits) { return as_float(static_cast<int>(bits)); }
inline float vload_half(size_t i, const half* from) { return HalfToFloat(from[i].bits); }
inline float rint(float x) { return std::nearbyint(x); }
using std::ceil, std::exp, std::fabs, std::floor, std::log, std::pow, std::sqrt, std::tanh,
    std::trunc;

}  // namespace bitmill::opencl_c
