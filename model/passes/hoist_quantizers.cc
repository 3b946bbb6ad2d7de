// Moves quantizers to where they let more of the network run on bits and codes.
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "model/passes/fuse_epilogue.h"
#include "model/passes/graph_edit.h"
#include "model/passes/linear.h"
#include "model/passes/quantized_view.h"

namespace bitmill {
namespace {

// A quantizer behind a pooling, with the chain between them if there is one.
struct PooledQuantizer {
  int32_t pool = -1, chain = -1, quantizer = -1;
  Window window;
  std::vector<uint8_t> minimum;
};

bool ComesFromConv(const Graph& graph, const GraphIndex& index, ValueId value) {
  for (;;) {
    const int32_t n = index.SoleProducer(value);
    if (n < 0) return false;
    const Node& node = graph.nodes[static_cast<size_t>(n)];
    if (std::holds_alternative<LowBitConvOp>(node.lowered)) return true;
    if (!std::holds_alternative<ElementwiseOp>(node.lowered) && !IsOp(node, "MaxPool")) {
      return false;
    }
    value = node.inputs[0];
  }
}

std::optional<PooledQuantizer> FindPooledQuantizer(const Graph& graph) {
  const GraphIndex index(graph);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!std::holds_alternative<QuantizeOp>(node.lowered)) continue;
    PooledQuantizer found;
    found.quantizer = static_cast<int32_t>(n);
    ValueId value = node.inputs[0];
    const int32_t before = index.SoleProducer(value);
    if (before < 0) continue;
    const Chain* chain = nullptr;
    if (const auto* op =
            std::get_if<ElementwiseOp>(&graph.nodes[static_cast<size_t>(before)].lowered)) {
      found.chain = before;
      chain = &op->chain;
      value = graph.nodes[static_cast<size_t>(before)].inputs[0];
    }
    found.pool = index.SoleProducer(value);
    if (found.pool < 0) continue;
    const Node& pool = graph.nodes[static_cast<size_t>(found.pool)];
    const auto window = MaxPoolWindowOf(graph, pool);
    if (!window || !ComesFromConv(graph, index, pool.inputs[0])) continue;
    found.window = *window;
    bool monotone = true;
    if (chain != nullptr) {
      for (int64_t c = 0; c < graph.value(value).shape[1]; ++c) {
        const Monotonicity shape = ChainMonotonicity(*chain, c);
        monotone = monotone && shape.monotone;
        found.minimum.push_back(shape.direction < 0 ? 1 : 0);
      }
    }
    if (!monotone) continue;
    if (std::count(found.minimum.begin(), found.minimum.end(), 1) == 0) found.minimum.clear();
    return found;
  }
  return std::nullopt;
}

LowBitMaxPoolOp PoolOf(const PooledQuantizer& found) {
  LowBitMaxPoolOp pool;
  pool.kernel_h = found.window.kernel_h;
  pool.kernel_w = found.window.kernel_w;
  pool.stride_h = found.window.stride_h;
  pool.stride_w = found.window.stride_w;
  pool.dilation_h = found.window.dilation_h;
  pool.dilation_w = found.window.dilation_w;
  pool.pad_top = found.window.pad_top;
  pool.pad_left = found.window.pad_left;
  pool.pad_bottom = found.window.pad_bottom;
  pool.pad_right = found.window.pad_right;
  pool.minimum = found.minimum;
  return pool;
}

// pool, chain, quantizer -> chain, quantizer, pool, in the places of the three nodes.
void MoveBeforePool(Graph& graph, const PooledQuantizer& found) {
  Node pool = std::move(graph.nodes[static_cast<size_t>(found.pool)]);
  Node quantizer = std::move(graph.nodes[static_cast<size_t>(found.quantizer)]);
  const Shape image = graph.value(pool.inputs[0]).shape;
  const ValueId result = quantizer.outputs[0];
  size_t place = static_cast<size_t>(found.pool);
  ValueId source = pool.inputs[0];
  if (found.chain >= 0) {
    Node chain = std::move(graph.nodes[static_cast<size_t>(found.chain)]);
    Value value = graph.value(chain.outputs[0]);
    value.shape = image;
    chain.inputs = {source};
    source = graph.AddValue(std::move(value));
    chain.outputs = {source};
    graph.nodes[place] = std::move(chain);
    place = static_cast<size_t>(found.chain);
  }
  Value codes = graph.value(result);
  codes.shape = image;
  quantizer.inputs = {source};
  source = graph.AddValue(std::move(codes));
  quantizer.outputs = {source};
  graph.nodes[place] = std::move(quantizer);
  pool.inputs = {source};
  pool.outputs = {result};
  pool.lowered = PoolOf(found);
  graph.nodes[static_cast<size_t>(found.quantizer)] = std::move(pool);
}

bool HasOneRow(const QuantizeOp& op) {
  return op.quantizer.code.kind == CodeKind::kBits ? op.bit_thresholds.size() == 1
                                                   : op.level_channels == 1;
}

bool CoversImage(const LowBitConvOp& conv, const Shape& image) {
  const Shape& kernel = conv.weights->shape();
  return conv.groups == 1 && kernel[2] == image[2] && kernel[3] == image[3] && conv.pad_top == 0 &&
         conv.pad_left == 0 && conv.pad_bottom == 0 && conv.pad_right == 0;
}

// Channels that share a word (of bits) or a step (of codes) in the kernels.
constexpr int64_t kWordChannels = 64;
constexpr int64_t kStepChannels = 4;

}  // namespace

void HoistQuantizers(Graph& graph) {
  while (const auto found = FindPooledQuantizer(graph)) MoveBeforePool(graph, *found);
}

void FlattenQuantizers(Graph& graph) {
  std::vector<std::vector<size_t>> readers(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId id : graph.nodes[n].inputs) {
      if (id != kNoValue) readers[static_cast<size_t>(id)].push_back(n);
    }
  }
  const size_t count = graph.nodes.size();
  std::vector<std::pair<size_t, Node>> inserted;  // before which node
  for (size_t n = 0; n < count; ++n) {
    Node& node = graph.nodes[n];
    const auto* op = std::get_if<QuantizeOp>(&node.lowered);
    if (op == nullptr || !HasOneRow(*op)) continue;
    const ValueId codes = node.outputs[0];
    const Shape image = graph.value(codes).shape;
    if (image.size() != 4 || image[2] * image[3] == 1) continue;
    const int64_t unit = op->quantizer.code.kind == CodeKind::kBits ? kWordChannels : kStepChannels;
    const std::vector<size_t>& users = readers[static_cast<size_t>(codes)];
    const bool dense_only = std::all_of(users.begin(), users.end(), [&](size_t user) {
      const auto* conv = std::get_if<LowBitConvOp>(&graph.nodes[user].lowered);
      return conv != nullptr && CoversImage(*conv, image);
    });
    if (image[1] % unit == 0 || users.empty() || !dense_only) continue;

    const int64_t elements = ElementCount(image);
    for (const size_t user : users) {
      auto& conv = std::get<LowBitConvOp>(graph.nodes[user].lowered);
      Tensor weights = conv.weights->Clone();
      if (!weights.Reshape({weights.shape()[0], elements, 1, 1}).ok()) return;
      conv.weights = std::make_shared<const Tensor>(std::move(weights));
      conv.stride_h = conv.stride_w = conv.dilation_h = conv.dilation_w = 1;
    }
    Value flat = graph.value(node.inputs[0]);
    flat.name += "/flat";
    flat.shape = {1, elements};
    Node flatten;
    flatten.name = node.name;
    flatten.op = "Flatten";
    flatten.attributes["axis"] = int64_t{1};
    flatten.inputs = node.inputs;
    graph.value(codes).shape = {1, elements};
    flatten.outputs = {graph.AddValue(std::move(flat))};
    graph.nodes[n].inputs = flatten.outputs;
    inserted.emplace_back(n, std::move(flatten));
  }
  std::vector<Node> nodes;
  size_t next = 0;
  for (size_t n = 0; n < count; ++n) {
    if (next < inserted.size() && inserted[next].first == n) {
      nodes.push_back(std::move(inserted[next++].second));
    }
    nodes.push_back(std::move(graph.nodes[n]));
  }
  graph.nodes = std::move(nodes);
}

}  // namespace bitmill
