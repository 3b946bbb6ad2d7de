// What the OpenCL C of kernels/opencl means on the host: address spaces are nothing, functions are
// those of C++, and the item that runs is three thread-local numbers.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

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

// Vectors of 8, with the operators that the kernels use; a scalar counts for all lanes.
template <typename T>
struct Vec8 {
  T lane[8];
  Vec8() = default;
  template <typename U>
  Vec8(U scalar) {
    for (T& value : lane) value = static_cast<T>(scalar);
  }
};
using ulong8 = Vec8<ulong>;
using long8 = Vec8<long>;
using int8 = Vec8<int>;
using uchar8 = Vec8<uchar>;

#define BITMILL_LANES(op)                                                \
  template <typename T>                                                  \
  Vec8<T> operator op(Vec8<T> a, std::type_identity_t<Vec8<T>> b) {      \
    for (int k = 0; k < 8; ++k) {                                        \
      a.lane[k] = static_cast<T>(a.lane[k] op b.lane[k]);                \
    }                                                                    \
    return a;                                                            \
  }                                                                      \
  template <typename T>                                                  \
  Vec8<T>& operator op##=(Vec8<T>& a, std::type_identity_t<Vec8<T>> b) { \
    return a = a op b;                                                   \
  }
BITMILL_LANES(+)
BITMILL_LANES(-)
BITMILL_LANES(*)
BITMILL_LANES(&)
BITMILL_LANES(|)
BITMILL_LANES(^)
BITMILL_LANES(>>)
BITMILL_LANES(<<)
#undef BITMILL_LANES
inline long8 operator>(long8 a, long8 b) {
  for (int k = 0; k < 8; ++k) a.lane[k] = a.lane[k] > b.lane[k] ? -1 : 0;
  return a;
}
template <typename To, typename From>
Vec8<To> Convert8(const Vec8<From>& from) {
  Vec8<To> to;
  for (int k = 0; k < 8; ++k) to.lane[k] = static_cast<To>(from.lane[k]);
  return to;
}
inline long8 as_long8(const ulong8& x) { return Convert8<long>(x); }
inline ulong8 as_ulong8(const long8& x) { return Convert8<ulong>(x); }
inline long8 convert_long8(const int8& x) { return Convert8<long>(x); }
inline int8 convert_int8(const long8& x) { return Convert8<int>(x); }
inline int8 convert_int8(const Vec8<signed char>& x) { return Convert8<int>(x); }
inline uchar8 convert_uchar8(const ulong8& x) { return Convert8<uchar>(x); }
template <typename T>
Vec8<T> vload8(size_t i, const T* from) {
  Vec8<T> to;
  std::memcpy(to.lane, from + i * 8, sizeof(to.lane));
  return to;
}
template <typename T>
void vstore8(const Vec8<T>& x, size_t i, T* to) {
  std::memcpy(to + i * 8, x.lane, sizeof(x.lane));
}

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
