// The loops of kernels/fdense/fdense.h in plain C++ over vectors of the instruction set of the file
// that includes it; everything is local to that file (see kernels/fmap/fmap_loops.h).
//
// Tile: up to 4 rows x 4 vectors of channels, whose sums stay in registers over a section. An
// element is 4 loads of weights, and a broadcast and 8 operations a row.
#pragma once

#include "kernels/fdense/fdense.h"

namespace bitmill {
namespace {

#if defined(__AVX512F__)
inline constexpr int kFdenseVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kFdenseVectorBytes = 32;
#else
inline constexpr int kFdenseVectorBytes = 16;
#endif
typedef float FdenseVector __attribute__((vector_size(kFdenseVectorBytes)));
inline constexpr int64_t kFdenseLanes = kFdenseVectorBytes / 4;
inline constexpr int64_t kFdenseVectors = 4;
inline constexpr int64_t kFdenseAhead = 16;  // elements whose weights are fetched

// Sums of a section: 4 vectors of channels of as many rows.
template <int kRows>
inline void FdenseSection(const float* const* inputs, int64_t count, const float* weights,
                          FdenseVector (*sums)[kFdenseVectors]) {
  FdenseVector parts[kRows][kFdenseVectors] = {};
  for (int64_t e = 0; e < count; ++e, weights += kFdenseBlock) {
    FdenseVector w[kFdenseVectors];
#pragma GCC unroll 4
    for (int64_t v = 0; v < kFdenseVectors; ++v) {
      const float* const from = weights + v * kFdenseLanes;
      __builtin_prefetch(from + kFdenseAhead * kFdenseBlock);
      __builtin_memcpy(&w[v], from, sizeof w[v]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const float x = inputs[r][e];
#pragma GCC unroll 4
      for (int v = 0; v < kFdenseVectors; ++v) parts[r][v] += w[v] * x;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kFdenseVectors; ++v) sums[r][v] += parts[r][v];
  }
}

// Channels `first` to first + 4 vectors - 1 of a block.
template <int kRows>
inline void FdenseTile(const FdenseArgs& args, int64_t block, int64_t first) {
  FdenseVector sums[kRows][kFdenseVectors] = {};
  const float* weights = args.weights + block * args.elements + first;
  for (int64_t e = 0; e < args.elements; e += kFdenseSection) {
    const int64_t left = args.elements - e;
    const float* inputs[kRows];
    for (int r = 0; r < kRows; ++r) inputs[r] = args.inputs[r] + e;
    FdenseSection<kRows>(inputs, left < kFdenseSection ? left : kFdenseSection,
                         weights + e * kFdenseBlock, sums);
  }
  const int64_t channel = block + first, left = args.channels - channel;
  const int64_t count = left < kFdenseVectors * kFdenseLanes ? left : kFdenseVectors * kFdenseLanes;
  for (int r = 0; r < kRows; ++r) {
    float values[kFdenseVectors * kFdenseLanes];
    __builtin_memcpy(values, sums[r], sizeof values);
    float* const out = args.outputs[r] + channel;
    for (int64_t i = 0; i < count; ++i) {
      out[i] = args.bias == nullptr ? values[i] : values[i] + args.bias[channel + i];
    }
  }
}

template <int kRows>
inline void FdenseRows(const FdenseArgs& args) {
  for (int64_t block = 0; block < args.channels; block += kFdenseBlock) {
    for (int64_t first = 0; first < kFdenseBlock && block + first < args.channels;
         first += kFdenseVectors * kFdenseLanes) {
      FdenseTile<kRows>(args, block, first);
    }
  }
}

inline void FdenseRun(const FdenseArgs& args) {
  switch (args.rows) {
    case 1:
      return FdenseRows<1>(args);
    case 2:
      return FdenseRows<2>(args);
    case 3:
      return FdenseRows<3>(args);
    default:
      return FdenseRows<4>(args);
  }
}

}  // namespace
}  // namespace bitmill
