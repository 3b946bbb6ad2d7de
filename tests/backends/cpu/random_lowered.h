// Random lowered graphs: quantize, one to three low-bit layers, back to float.
#pragma once

#include <cstdint>
#include <random>

#include "model/graph.h"

namespace bitmill {

// What the graph must contain; everything else is drawn.
struct LoweredKind {
  bool bits_in = true;  // or codes
  int weight_bits = 1;  // 1, 2, 4 or 8
  bool ternary = false;
  LowBitConvOp::Epilogue epilogue = LowBitConvOp::Epilogue::kFloat;
  bool bits_out = true;  // kThresholds: bits or codes
  bool dense = false;    // 1x1 over one pixel
  int64_t channels = 0;  // 0: drawn from 1 to 130
  bool pruned = false;   // whole blocks of weights are zero; not of 1 bit
  int64_t outputs = 0;   // of dense layers; 0: drawn
  bool two_of_four =
      false;               // weights of neighbouring channels, at most, are not zero; not of 1 bit
  bool depthwise = false;  // one output a channel, of that channel alone
  bool first_layer = false;  // of one group, large windows that lie pixels apart
  int64_t groups = 0;        // of channels and outputs, which are given; 0: drawn
};

// A dense layer of so many weights that it is cut into slices.
LoweredKind LargeDense(LoweredKind kind);

Graph RandomLowered(const LoweredKind& kind, std::mt19937& random);

// quantize -> pool -> dequantize, on bits or codes.
Graph RandomPooling(bool bits, std::mt19937& random);

// Float layers with chains: FloatConv or FloatDense, Elementwise around it.
Graph RandomFloat(bool dense, std::mt19937& random);

// One to four blocks of sign -> 1-bit or ternary convolution -> shortcut (itself, or pooled) added,
// with chains, pools, second readers and outputs between; then perhaps pooled over the whole image.
Graph RandomResidual(std::mt19937& random);

// Two to five blocks of sign -> 1-bit or ternary convolution -> joined to all maps before, now and
// then in another order or with other readers in between; then perhaps a chain and a pool.
Graph RandomJoined(std::mt19937& random);

// Fills in what lowering always writes and these graphs leave out: a plan file wants it.
void FillIn(Graph& graph);

}  // namespace bitmill
