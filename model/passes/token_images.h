// Sequences as images.
#pragma once

#include "model/graph.h"

namespace bitmill {

// Layers of sequences keep their channels on the last axis: [1, tokens, channels], also
// [1, H, W, channels] and [tokens, channels]. Rewritten here to images with channels on axis 1 and
// a pixel for each token, they are lowered as images are:
//
//   - a MatMul or Gemm with constant weights becomes a Conv of 1 x 1,
//   - quantizers, elementwise operations and normalizations go along,
//   - a Transpose of tokens and channels is another way to see the same image; elements move only
//     where a layer wants what were tokens as channels, after quantization where there is any,
//   - a mean over tokens is a GlobalAveragePool.
//
// What remains of transpositions between such images and values that other operators read moves
// no element of a tensor that is stored channels innermost. Every value is what it was, bit for
// bit, but for the order of summation in a product. Expects constants to be folded.
void TokensToImages(Graph& graph);

}  // namespace bitmill
