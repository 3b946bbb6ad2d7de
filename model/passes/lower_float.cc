#include "model/passes/lower_float.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "model/passes/affine.h"
#include "model/passes/graph_edit.h"
#include "model/passes/linear.h"

namespace bitmill {
namespace {

// A layer being lowered, in double precision until it is done.
struct FloatLayer {
  LinearLayer layer;
  std::vector<double> weights, bias;

  explicit FloatLayer(LinearLayer source)
      : layer(std::move(source)),
        weights(layer.weights.begin(), layer.weights.end()),
        bias(static_cast<size_t>(layer.out_channels), 0.0) {}

  size_t row() const { return weights.size() / static_cast<size_t>(layer.out_channels); }
  size_t taps() const { return row() / static_cast<size_t>(layer.in_channels); }
};

// Input channel (of the whole image) of element k of row o.
int64_t InputChannel(const FloatLayer& layer, size_t o, size_t k) {
  const auto rows = static_cast<size_t>(layer.layer.out_channels / layer.layer.groups);
  return static_cast<int64_t>(o / rows) * layer.layer.in_channels +
         static_cast<int64_t>(k / layer.taps());
}

// Folds a chain in front of the layer; false when it is not affine, or shifts a padded border.
bool FoldBefore(const Chain& chain, FloatLayer& layer) {
  const int64_t channels = layer.layer.in_channels * layer.layer.groups;
  if (AffinePrefix(chain, channels) != chain.size()) return false;
  std::vector<Affine> maps(static_cast<size_t>(channels));
  for (int64_t c = 0; c < channels; ++c) {
    for (const ChainStep& step : chain) AppendAffine(step, c, maps[static_cast<size_t>(c)]);
    if (layer.layer.window.padded() && maps[static_cast<size_t>(c)].b != 0.0) return false;
  }
  for (size_t o = 0; o < layer.bias.size(); ++o) {
    for (size_t k = 0; k < layer.row(); ++k) {
      double& w = layer.weights[o * layer.row() + k];
      const Affine& map = maps[static_cast<size_t>(InputChannel(layer, o, k))];
      layer.bias[o] += w * map.b;
      w *= map.a;
    }
  }
  return true;
}

// Folds what the layer can take over of the chain behind it and returns the rest.
Chain FoldBehind(const Chain& chain, FloatLayer& layer) {
  FoldedChain folded = FoldIntoLayer(chain, layer.layer.out_channels);
  for (size_t o = 0; o < layer.bias.size(); ++o) {
    const Affine& map = folded.maps[o];
    for (size_t k = 0; k < layer.row(); ++k) layer.weights[o * layer.row() + k] *= map.a;
    layer.bias[o] = layer.bias[o] * map.a + map.b;
  }
  return std::move(folded.rest);
}

std::vector<float> ToFloat(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

LoweredOp MakeOp(const FloatLayer& layer, Chain chain) {
  const LinearLayer& source = layer.layer;
  const std::vector<float> weights = ToFloat(layer.weights);
  std::vector<float> bias = ToFloat(layer.bias);
  if (std::all_of(bias.begin(), bias.end(), [](float b) { return b == 0.0F; })) bias.clear();
  if (source.dense) {
    return FloatDenseOp{std::make_shared<const Tensor>(Tensor::Of<float>(
                            DType::kFloat32, {source.out_channels, source.in_channels}, weights)),
                        std::move(bias), std::move(chain)};
  }
  const Window& window = source.window;
  FloatConvOp op;
  op.weights = std::make_shared<const Tensor>(Tensor::Of<float>(
      DType::kFloat32, {source.out_channels, source.in_channels, window.kernel_h, window.kernel_w},
      weights));
  op.bias = std::move(bias);
  op.groups = source.groups;
  op.stride_h = window.stride_h;
  op.stride_w = window.stride_w;
  op.dilation_h = window.dilation_h;
  op.dilation_w = window.dilation_w;
  op.pad_top = window.pad_top;
  op.pad_left = window.pad_left;
  op.pad_bottom = window.pad_bottom;
  op.pad_right = window.pad_right;
  op.chain = std::move(chain);
  return op;
}

// A zero Pad that only this layer reads widens its window.
void JoinPad(Graph& graph, const GraphIndex& index, LinearLayer& layer) {
  const int32_t before = layer.dense ? -1 : index.SoleProducer(layer.input);
  if (before < 0) return;
  Node& node = graph.nodes[static_cast<size_t>(before)];
  const auto pad = SpatialPadOf(graph, node);
  if (!pad || pad->value != 0.0F) return;
  layer.window.pad_top += pad->top;
  layer.window.pad_left += pad->left;
  layer.window.pad_bottom += pad->bottom;
  layer.window.pad_right += pad->right;
  layer.input = pad->input;
  EraseNode(node);
}

}  // namespace

void LowerFloat(Graph& graph) {
  // Who reads what, while nodes join: index.producer() is kept up to date.
  GraphIndex index(graph);
  std::vector<int32_t> chain_behind(graph.values.size(), -1);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!std::holds_alternative<ElementwiseOp>(node.lowered)) continue;
    if (index.uses(node.inputs[0]) == 1) {
      chain_behind[static_cast<size_t>(node.inputs[0])] = static_cast<int32_t>(n);
    }
  }
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    Node& node = graph.nodes[n];
    if (!IsOp(node, "Conv") && !IsOp(node, "MatMul") && !IsOp(node, "Gemm")) continue;
    auto layer = LinearLayerOf(graph, node);
    if (!layer || graph.value(node.outputs[0]).dtype != DType::kFloat32) continue;
    JoinPad(graph, index, *layer);
    FloatLayer folded(*std::move(layer));

    const int32_t before = index.SoleProducer(folded.layer.input);
    if (before >= 0) {
      Node& producer = graph.nodes[static_cast<size_t>(before)];
      const auto* chain = std::get_if<ElementwiseOp>(&producer.lowered);
      if (chain != nullptr && FoldBefore(chain->chain, folded)) {
        folded.layer.input = producer.inputs[0];
        EraseNode(producer);
      }
    }

    Chain chain = folded.layer.after;
    const int32_t behind = chain_behind[static_cast<size_t>(node.outputs[0])];
    if (behind >= 0) {
      Node& reader = graph.nodes[static_cast<size_t>(behind)];
      const Chain& more = std::get<ElementwiseOp>(reader.lowered).chain;
      chain.insert(chain.end(), more.begin(), more.end());
      node.outputs = reader.outputs;
      index.SetProducer(node.outputs[0], static_cast<int32_t>(n));
      EraseNode(reader);
    }
    chain = FoldBehind(chain, folded);
    node.inputs = {folded.layer.input};
    node.lowered = MakeOp(folded, std::move(chain));
  }
}

}  // namespace bitmill
