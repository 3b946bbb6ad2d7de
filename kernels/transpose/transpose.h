// Transposition of matrices: sequences between tokens and channels.
//
//   dst[c * dst_stride + r] = src[r * src_stride + c]      r < rows, c < columns
//
// Elements of 1 or 4 bytes, at any address; strides in elements. src and dst do not overlap. Writes
// nothing but these elements and reads no others. Memory-bound beyond the first-level cache.
#pragma once

#include <stdint.h>

namespace bitmill {

struct TransposeArgs {
  const void* src;
  void* dst;
  int64_t rows, columns;
  int64_t src_stride, dst_stride;
};

using TransposeFn = void (*)(const TransposeArgs& args);

}  // namespace bitmill
