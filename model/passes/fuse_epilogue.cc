#include "model/passes/fuse_epilogue.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "model/passes/accumulator.h"
#include "model/passes/affine.h"
#include "model/passes/graph_edit.h"
#include "model/passes/thresholds.h"

namespace bitmill {
namespace {

// Up to this many levels, comparing with every threshold is cheap; beyond, a scale and a bias are
// (and the difference is at most one code where the exact result lies on a tie).
constexpr int32_t kThresholdLevels = 16;

// Most thresholds of one operation, 16 MiB: a small file can ask for a row of 255 for each of
// millions of channels.
constexpr int64_t kMaxThresholds = int64_t{1} << 22;

// The thresholds of a QuantizeOp that still has its own, chain-free ones.
const float* RowOf(const QuantizeOp& op, int64_t channel) {
  if (op.quantizer.code.kind == CodeKind::kBits) {
    return op.bit_thresholds.data() + (op.bit_thresholds.size() == 1 ? 0 : channel);
  }
  const int64_t steps = op.quantizer.code.levels - 1;
  return op.level_thresholds.data() + (op.level_channels == 1 ? 0 : channel * steps);
}

bool IsInverted(const QuantizeOp& op) {
  return std::find(op.bit_invert.begin(), op.bit_invert.end(), 1) != op.bit_invert.end();
}

bool FuseThresholds(const Chain& chain, const AccumulatorRange& range, const QuantizeOp& quantize,
                    LowBitConvOp& conv) {
  const auto channels = static_cast<int64_t>(range.bound.size());
  const int32_t steps = quantize.quantizer.code.levels - 1;
  if (channels * steps > kMaxThresholds) return false;
  std::vector<int32_t> thresholds;
  std::vector<uint8_t> flip;
  for (int64_t o = 0; o < channels; ++o) {
    const Monotonicity shape = ChainMonotonicity(chain, o);
    if (!shape.monotone) return false;
    const int32_t sign = shape.direction < 0 ? -1 : 1;
    const int32_t bound = range.bound[static_cast<size_t>(o)];
    const auto at = [&](int32_t acc) {
      return EvaluateChain(chain, static_cast<float>(sign * acc), o);
    };
    if (std::isnan(at(-bound)) || std::isnan(at(bound))) return false;
    flip.push_back(sign < 0 ? 1 : 0);
    const float* const row = RowOf(quantize, o);
    for (int32_t i = 0; i < steps; ++i) {
      thresholds.push_back(
          SmallestIntWhere(-bound, bound, [&](int32_t acc) { return at(acc) >= row[i]; }));
    }
  }
  conv.epilogue = LowBitConvOp::Epilogue::kThresholds;
  conv.thresholds = std::move(thresholds);
  conv.flip = std::move(flip);
  conv.scale.clear();
  conv.bias.clear();
  conv.chain.clear();
  return true;
}

// code = clamp(round(acc * scale[o] + bias[o])), the chain's clamps tightening the range of codes.
bool FuseRequantize(const Chain& chain, int64_t channels, const QuantizeOp& quantize,
                    LowBitConvOp& conv, CodeInfo& output) {
  const Quantizer& quantizer = quantize.quantizer;
  if (!quantize.uniform || quantizer.rounding != Rounding::kHalfEven) return false;
  const double step = quantizer.code.scale;
  const double top = quantizer.code.levels - 1;
  double low = 0.0;
  double high = 0.0;
  std::vector<double> scale, bias;
  for (int64_t o = 0; o < channels; ++o) {
    ClampedAffine folded;
    if (!FoldClampedAffine(chain, o, &folded)) return false;
    scale.push_back(folded.map.a / step);
    bias.push_back(folded.map.b / step + quantizer.offset);
    const double lowest =
        std::clamp(std::nearbyint(folded.low / step + quantizer.offset), 0.0, top);
    const double highest =
        std::clamp(std::nearbyint(folded.high / step + quantizer.offset), 0.0, top);
    if (o > 0 && (lowest != low || highest != high)) return false;
    low = lowest;
    high = highest;
  }
  // Zero must stay a code, since a border may hold it.
  const auto shift = static_cast<int32_t>(low);
  CodeInfo info = quantizer.code;
  info.zero_point -= shift;
  info.levels = static_cast<int32_t>(high - low) + 1;
  const bool had_zero =
      quantizer.code.zero_point >= 0 && quantizer.code.zero_point < quantizer.code.levels;
  if (info.levels < 2 || (had_zero && (info.zero_point < 0 || info.zero_point >= info.levels))) {
    return false;
  }
  conv.epilogue = LowBitConvOp::Epilogue::kRequantize;
  conv.scale.clear();
  conv.bias.clear();
  for (size_t o = 0; o < scale.size(); ++o) {
    conv.scale.push_back(static_cast<float>(scale[o]));
    conv.bias.push_back(static_cast<float>(bias[o] - shift));
  }
  conv.chain.clear();
  conv.quantizer = Quantizer{};
  conv.quantizer.code = info;
  conv.quantizer.code.scale = 1.0F;  // scale and bias give code units
  output = info;
  return true;
}

// Directions of the chain in every channel; empty when it is not monotone in one.
std::vector<int> DirectionsOf(const Chain& chain, int64_t channels) {
  std::vector<int> directions;
  for (int64_t c = 0; c < channels; ++c) {
    const Monotonicity shape = ChainMonotonicity(chain, c);
    if (!shape.monotone) return {};
    directions.push_back(shape.direction);
  }
  return directions;
}

bool VariesByChannel(const Chain& chain) {
  return std::any_of(chain.begin(), chain.end(), [](const ChainStep& step) {
    return step.operand.size() > 1 || step.operand2.size() > 1;
  });
}

// Float thresholds of chain and quantizer on the chain's input. Where the chain falls they are on
// the negated input: `signs` then holds -1 for such channels (empty when none; bits are inverted
// instead). False when the chain is not monotone.
bool AbsorbChain(const Chain& chain, int64_t channels, QuantizeOp& quantize,
                 std::vector<float>* signs) {
  const bool bits = quantize.quantizer.code.kind == CodeKind::kBits;
  if (bits && IsInverted(quantize)) return false;
  const bool same = !VariesByChannel(chain) &&
                    (bits ? quantize.bit_thresholds.size() == 1 : quantize.level_channels == 1);
  const int64_t rows = same ? 1 : channels;
  if (rows * (quantize.quantizer.code.levels - 1) > kMaxThresholds) return false;
  const std::vector<int> directions = DirectionsOf(chain, rows);
  if (directions.empty()) return false;
  const int32_t steps = quantize.quantizer.code.levels - 1;
  std::vector<float> thresholds;
  std::vector<uint8_t> invert;
  std::vector<float> row_signs;
  bool falls = false;
  for (int64_t c = 0; c < rows; ++c) {
    const int direction = directions[static_cast<size_t>(c)];
    const float* const row = RowOf(quantize, c);
    const float sign = direction < 0 ? -1.0F : 1.0F;
    falls = falls || direction < 0;
    row_signs.push_back(sign);
    invert.push_back(bits && direction < 0 ? 1 : 0);
    for (int32_t i = 0; i < steps; ++i) {
      const auto holds = [&](float x) { return EvaluateChain(chain, sign * x, c) >= row[i]; };
      float threshold = std::numeric_limits<float>::quiet_NaN();
      if (direction == 0) {
        if (holds(0.0F)) threshold = -std::numeric_limits<float>::infinity();
      } else if (bits && direction < 0) {
        // Inverted: the bit is set (for -1) from the threshold on.
        threshold =
            SmallestFloatWhere([&](float x) { return !(EvaluateChain(chain, x, c) >= row[i]); });
      } else {
        threshold = SmallestFloatWhere(holds);
      }
      if (!bits && std::isnan(threshold)) threshold = std::numeric_limits<float>::infinity();
      thresholds.push_back(threshold);
    }
  }
  if (bits) {
    quantize.bit_thresholds = std::move(thresholds);
    quantize.bit_invert = std::move(invert);
    return true;
  }
  if (falls) *signs = std::move(row_signs);
  quantize.level_thresholds = std::move(thresholds);
  quantize.level_channels = rows;
  quantize.uniform = quantize.uniform && AffinePrefix(chain, rows) == chain.size();
  return true;
}

// The node that makes `value` for nobody else, when it holds an Op.
template <typename Op>
Node* SoleProducer(Graph& graph, const GraphIndex& index, ValueId value) {
  const int32_t n = index.SoleProducer(value);
  if (n < 0) return nullptr;
  Node& node = graph.nodes[static_cast<size_t>(n)];
  return std::holds_alternative<Op>(node.lowered) ? &node : nullptr;
}

bool HasFloatEpilogue(const Node* node) {
  return node != nullptr &&
         std::get<LowBitConvOp>(node->lowered).epilogue == LowBitConvOp::Epilogue::kFloat;
}

// Joins the quantizer with the convolution before it (and the chain between); false when it cannot.
bool JoinConv(Graph& graph, GraphIndex& index, Node& quantizer, Node* between) {
  const ValueId source = (between == nullptr ? quantizer : *between).inputs[0];
  Node* const producer = SoleProducer<LowBitConvOp>(graph, index, source);
  if (!HasFloatEpilogue(producer)) return false;
  auto& conv = std::get<LowBitConvOp>(producer->lowered);
  const auto& quantize = std::get<QuantizeOp>(quantizer.lowered);
  if (IsInverted(quantize)) return false;
  // A chain a channel behind a reshape would count other channels; shapes tell.
  if (graph.value(source).shape != graph.value(quantizer.outputs[0]).shape) return false;
  Chain chain = ChainOnAccumulator(conv);
  if (between != nullptr) {
    const Chain& more = std::get<ElementwiseOp>(between->lowered).chain;
    chain.insert(chain.end(), more.begin(), more.end());
  }
  const AccumulatorRange range = RangeOf(conv, graph.value(producer->inputs[0]).code);
  const auto channels = static_cast<int64_t>(range.bound.size());
  CodeInfo& output = graph.value(quantizer.outputs[0]).code;
  const bool many = quantize.quantizer.code.levels > kThresholdLevels;
  if (!(many && FuseRequantize(chain, channels, quantize, conv, output)) &&
      !FuseThresholds(chain, range, quantize, conv)) {
    return false;
  }
  index.SetProducer(quantizer.outputs[0], index.producer(source));
  producer->outputs = quantizer.outputs;
  if (between != nullptr) EraseNode(*between);
  EraseNode(quantizer);
  return true;
}

void JoinChain(Graph& graph, Node& quantizer, Node& between) {
  auto& quantize = std::get<QuantizeOp>(quantizer.lowered);
  auto& chain = std::get<ElementwiseOp>(between.lowered).chain;
  // Nearly: a search among many thresholds, others for each channel, costs more than the chain.
  if (quantize.uniform && quantize.quantizer.code.levels > kThresholdLevels &&
      VariesByChannel(chain)) {
    return;
  }
  const Shape& shape = graph.value(quantizer.inputs[0]).shape;
  std::vector<float> signs;
  if (shape.size() < 2 || !AbsorbChain(chain, shape[1], quantize, &signs)) return;
  if (!signs.empty()) {
    chain = {{ChainOp::kMul, std::move(signs), {}}};
    return;
  }
  quantizer.inputs = between.inputs;
  EraseNode(between);
}

}  // namespace

void FuseEpilogues(Graph& graph) {
  GraphIndex index(graph);
  for (Node& node : graph.nodes) {
    if (!std::holds_alternative<QuantizeOp>(node.lowered)) continue;
    Node* const between = SoleProducer<ElementwiseOp>(graph, index, node.inputs[0]);
    if (JoinConv(graph, index, node, between)) continue;
    // The chain in front of a quantizer costs nothing as thresholds.
    if (between != nullptr) JoinChain(graph, node, *between);
  }
  for (Node& node : graph.nodes) {
    const auto* chain = std::get_if<ElementwiseOp>(&node.lowered);
    if (chain == nullptr) continue;
    Node* const producer = SoleProducer<LowBitConvOp>(graph, index, node.inputs[0]);
    if (!HasFloatEpilogue(producer)) continue;
    auto& conv = std::get<LowBitConvOp>(producer->lowered);
    conv.chain.insert(conv.chain.end(), chain->chain.begin(), chain->chain.end());
    index.SetProducer(node.outputs[0], index.producer(node.inputs[0]));
    producer->outputs = node.outputs;
    EraseNode(node);
  }
  // A convolution may have narrowed its codes; poolings and transpositions pass them on.
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<LowBitMaxPoolOp>(node.lowered) &&
        !std::holds_alternative<LowBitTransposeOp>(node.lowered)) {
      continue;
    }
    graph.value(node.outputs[0]).code = graph.value(node.inputs[0]).code;
  }
}

void FoldFloatEpilogues(Graph& graph) {
  for (Node& node : graph.nodes) {
    auto* const conv = std::get_if<LowBitConvOp>(&node.lowered);
    if (conv == nullptr || conv->epilogue != LowBitConvOp::Epilogue::kFloat) continue;
    const auto channels = static_cast<int64_t>(conv->scale.size());
    FoldedChain folded = FoldIntoLayer(conv->chain, channels);
    for (size_t o = 0; o < conv->scale.size(); ++o) {
      const Affine& map = folded.maps[o];
      conv->scale[o] = static_cast<float>(conv->scale[o] * map.a);
      conv->bias[o] = static_cast<float>(conv->bias[o] * map.a + map.b);
    }
    conv->chain = std::move(folded.rest);
  }
}

}  // namespace bitmill
