// Convolutions, matrix products and poolings of a graph, their attributes made plain.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "model/graph.h"

namespace bitmill {

// A two-dimensional window over an image; pads as the operator's auto_pad says.
struct Window {
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;

  bool padded() const { return pad_top != 0 || pad_left != 0 || pad_bottom != 0 || pad_right != 0; }
};

// A linear layer with constant weights: a convolution over [1,C,H,W] or a dense layer over [1,K].
struct LinearLayer {
  ValueId input = kNoValue;
  bool dense = false;
  int64_t out_channels = 0;
  int64_t in_channels = 0;  // of a group; K when dense
  int64_t groups = 1;
  Window window;
  std::vector<float> weights;  // [out_channels][in_channels][kernel_h][kernel_w]
  Chain after;                 // the bias, in the order of the definition
};

// The layer that a Conv, MatMul, Gemm, ConvInteger, MatMulInteger, QLinearConv or QLinearMatMul
// computes, the integer ones on real values: zero points subtracted from the weights, scales
// multiplied (what becomes of the output is not part of it). Nothing for other nodes, ranks or
// weights that are not constant.
std::optional<LinearLayer> LinearLayerOf(const Graph& graph, const Node& node);

// The window of a MaxPool over a [1,C,H,W] input whose indices nobody reads; nothing otherwise.
std::optional<Window> MaxPoolWindowOf(const Graph& graph, const Node& node);

// A Pad node with constant borders on the two image axes only, all of them >= 0.
struct SpatialPad {
  ValueId input = kNoValue;
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  float value = 0.0F;
};
std::optional<SpatialPad> SpatialPadOf(const Graph& graph, const Node& node);

}  // namespace bitmill
