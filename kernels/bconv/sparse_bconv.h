// Weights of a binary convolution without their empty words; made once, when a model is compiled.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/bconv/bconv.h"

namespace bitmill {

// Words in which any weight of a group counts / all words; between 0 and 1. Reads weights, planes,
// taps, c_words and out_channels of `args`, whose weights are dense. With one plane all count: 1.
double BconvDensity(const BconvArgs& args, int32_t group_channels);

// Not copied: `lists` points into the vectors, which a move leaves where they are.
struct SparseBconv {
  // The same call with these weights, which must outlive it.
  BconvArgs Applied(BconvArgs args) const;
  int64_t bytes() const;

  int32_t planes = 2;  // 1 where every weight of the words that are left counts
  std::vector<int32_t> first_word, words;
  AlignedBuffer weights;
  BconvSparse lists = {};
};

// From dense weights of two planes and `channels` input channels a tap: a tap of `args` is one or
// several of these in a row, ceil(channels / 64) words each.
SparseBconv MakeSparseBconv(const BconvArgs& args, int32_t channels, int32_t group_channels);

}  // namespace bitmill
