// Random small networks for tests that compare a lowered graph with the original.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "model/graph.h"

namespace bitmill {

struct RandomGraphOptions {
  // Scales are powers of two, so that the reference's float sums are exact and codes can be
  // compared bit for bit.
  bool exact_scales = true;
  int max_bits = 4;  // of activation quantizers
  int max_layers = 3;
  bool quantized_output = false;
};

// A few layers (convolutions with groups, strides, dilations, asymmetric pads, dense layers), each
// with weights of 1 to 8 bits, a random chain (batch normalization with negative and zero gamma,
// clamps, slopes), perhaps a pooling, and a quantizer; the same graph for the same seed.
Graph RandomGraph(uint32_t seed, const RandomGraphOptions& options);

// An input for it, and for any graph with one float input.
std::vector<float> RandomInput(const Graph& graph, uint32_t seed);

}  // namespace bitmill
