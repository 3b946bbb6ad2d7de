#include "model/passes/quantize_float.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/passes/check_lowered.h"
#include "model/passes/fuse_epilogue.h"
#include "model/passes/graph_edit.h"
#include "model/passes/thresholds.h"

namespace bitmill {
namespace {

constexpr double kTopWeight = 127.0;

// The kernels' grain: four bytes of input, eight output channels.
constexpr int64_t kStep = 4, kLanes = 8;

// Time in products of a float layer: an integer product, and making one code.
// docs/decisions/0008-precision-fast.md has the measurements.
constexpr double kInt8Product = 0.6, kCodeProducts = 6.0;

// A float layer as a convolution; dense layers are 1x1 over one pixel.
struct Layer {
  const Tensor* weights = nullptr;
  const std::vector<float>* bias = nullptr;
  const Chain* chain = nullptr;
  LowBitConvOp window;  // groups, strides, dilations and pads alone
  int64_t outputs = 0, channels = 0, kernel_h = 1, kernel_w = 1;  // channels of a group

  int64_t row() const { return channels * kernel_h * kernel_w; }
};

std::optional<Layer> LayerOf(const Node& node) {
  Layer layer;
  if (const auto* conv = std::get_if<FloatConvOp>(&node.lowered)) {
    layer.weights = conv->weights.get();
    layer.bias = &conv->bias;
    layer.chain = &conv->chain;
    LowBitConvOp& window = layer.window;
    window.groups = conv->groups;
    window.stride_h = conv->stride_h;
    window.stride_w = conv->stride_w;
    window.dilation_h = conv->dilation_h;
    window.dilation_w = conv->dilation_w;
    window.pad_top = conv->pad_top;
    window.pad_left = conv->pad_left;
    window.pad_bottom = conv->pad_bottom;
    window.pad_right = conv->pad_right;
    if (layer.weights == nullptr || layer.weights->shape().size() != 4) return std::nullopt;
    layer.kernel_h = layer.weights->shape()[2];
    layer.kernel_w = layer.weights->shape()[3];
  } else if (const auto* dense = std::get_if<FloatDenseOp>(&node.lowered)) {
    layer.weights = dense->weights.get();
    layer.bias = &dense->bias;
    layer.chain = &dense->chain;
    if (layer.weights == nullptr || layer.weights->shape().size() != 2) return std::nullopt;
  } else {
    return std::nullopt;
  }
  layer.outputs = layer.weights->shape()[0];
  layer.channels = layer.weights->shape()[1];
  return layer;
}

bool AllFinite(absl::Span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

// Products that the integer kernel computes for a pixel, fill-up included.
double PaddedProducts(const Layer& layer) {
  // Lines of tight images are one run of bytes.
  const int64_t steps = layer.channels < kStep && layer.window.groups == 1
                            ? layer.kernel_h * ((layer.channels * layer.kernel_w + 3) / kStep)
                            : layer.kernel_h * layer.kernel_w * ((layer.channels + 3) / kStep);
  const int64_t lanes = (layer.outputs / layer.window.groups + kLanes - 1) / kLanes * kLanes;
  return static_cast<double>(layer.window.groups) * static_cast<double>(steps * kStep) *
         static_cast<double>(lanes);
}

std::string RefusalOf(const Layer& layer, const Value& input, const Value& output) {
  if (input.shape.size() != output.shape.size() ||
      (input.shape.size() != 4 && input.shape.size() != 2)) {
    return absl::StrCat("its input ", ShapeToString(input.shape), " is neither rows nor images");
  }
  if (layer.window.groups > 1 && layer.channels % kStep != 0) {
    return absl::StrCat("groups of ", layer.channels, " channels; int8 takes ", kStep,
                        " at a time");
  }
  if (!AllFinite(layer.weights->span<float>())) return "weights that are not finite";
  // |acc| <= row * 127 * levels, and the zero point's share as much again.
  if (layer.row() > std::numeric_limits<int32_t>::max() / (127 * 2 * kFastLevels)) {
    return absl::StrCat("sums of ", layer.row(), " products may exceed 32 bits");
  }
  const int64_t output_pixels = ElementCount(output.shape) / layer.outputs;
  const auto pixels = static_cast<double>(output_pixels);
  const double products = pixels * static_cast<double>(layer.outputs * layer.row());
  const double cost = pixels * PaddedProducts(layer) * kInt8Product +
                      static_cast<double>(ElementCount(input.shape)) * kCodeProducts;
  if (cost >= products) {
    return absl::StrCat("too few products to repay the codes (",
                        static_cast<int64_t>(products) / ElementCount(input.shape),
                        " an input element)");
  }
  return "";
}

// Integer weights of one channel and what one of them stands for.
double QuantizeRow(absl::Span<const float> row, absl::Span<int8_t> codes) {
  double top = 0.0;
  for (const float w : row) top = std::max(top, std::fabs(double{w}));
  const double scale = top > 0.0 ? top / kTopWeight : 1.0;
  for (size_t i = 0; i < row.size(); ++i) {
    codes[i] = static_cast<int8_t>(std::nearbyint(double{row[i]} / scale));
  }
  return scale;
}

LowBitConvOp Int8Op(const Layer& layer, const CodeInfo& code) {
  LowBitConvOp op = layer.window;
  Tensor weights = Tensor::Of<int8_t>(
      DType::kInt8, {layer.outputs, layer.channels, layer.kernel_h, layer.kernel_w},
      std::vector<int8_t>(static_cast<size_t>(layer.outputs * layer.row())));
  const auto row = static_cast<size_t>(layer.row());
  for (size_t o = 0; o < static_cast<size_t>(layer.outputs); ++o) {
    const double scale = QuantizeRow(layer.weights->span<float>().subspan(o * row, row),
                                     weights.span<int8_t>().subspan(o * row, row));
    op.scale.push_back(static_cast<float>(scale * code.scale));
    op.bias.push_back(layer.bias->empty() ? 0.0F : (*layer.bias)[o]);
  }
  op.weights = std::make_shared<const Tensor>(std::move(weights));
  op.weight_bits = 8;
  op.padding = Padding::kZero;
  op.epilogue = LowBitConvOp::Epilogue::kFloat;
  op.chain = *layer.chain;
  return op;
}

absl::Status CheckRange(const ActivationRange& range) {
  if (IsUsable(range)) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("codes for activations from ", range.low, " to ", range.high));
}

// The node that makes codes of `input`, and its output.
Node MakeQuantizeNode(Graph& graph, ValueId input, const ActivationRange& range) {
  QuantizeOp op;
  op.quantizer.code = CodesOf(range);
  op.quantizer.offset = static_cast<float>(op.quantizer.code.zero_point);
  op.level_thresholds =
      CodeThresholds(kFastLevels, [&](float x) { return EvaluateQuantizer(op.quantizer, x); });
  for (float& t : op.level_thresholds) {
    if (std::isnan(t)) t = std::numeric_limits<float>::infinity();
  }
  op.level_channels = 1;
  op.uniform = true;
  Value codes = graph.value(input);
  codes.name += "/codes";
  codes.code = op.quantizer.code;
  Node node;
  node.name = codes.name;
  node.op = "Quantize";
  node.inputs = {input};
  node.outputs = {graph.AddValue(std::move(codes))};
  node.lowered = std::move(op);
  return node;
}

}  // namespace

bool IsUsable(const ActivationRange& range) {
  if (!(std::isfinite(range.low) && std::isfinite(range.high) && range.low <= 0.0F &&
        range.high >= 0.0F && range.low < range.high)) {
    return false;
  }
  const float scale = CodesOf(range).scale;
  return std::isnormal(scale) && std::isfinite(scale * static_cast<float>(kFastLevels));
}

CodeInfo CodesOf(const ActivationRange& range, int32_t levels) {
  const double scale = (double{range.high} - double{range.low}) / (levels - 1);
  const double zero = std::nearbyint(-double{range.low} / scale);
  return {CodeKind::kUInt8, static_cast<float>(scale),
          static_cast<int32_t>(std::clamp<double>(zero, 0, levels - 1)), levels};
}

std::vector<FloatLayer> FindFloatLayers(const Graph& lowered) {
  std::vector<FloatLayer> layers;
  for (size_t n = 0; n < lowered.nodes.size(); ++n) {
    const Node& node = lowered.nodes[n];
    const std::optional<Layer> layer = LayerOf(node);
    if (!layer.has_value()) continue;
    FloatLayer& found = layers.emplace_back();
    found.node = n;
    found.input = node.inputs[0];
    found.output = node.outputs[0];
    const Value& output = lowered.value(found.output);
    found.macs = ElementCount(output.shape) * layer->row();
    found.refusal = lowered.value(found.input).constant != nullptr
                        ? "its input is constant"
                        : RefusalOf(*layer, lowered.value(found.input), output);
  }
  return layers;
}

absl::StatusOr<Graph> QuantizeFloatLayers(const Graph& lowered, const LayerRanges& ranges) {
  for (const auto& [value, range] : ranges) BITMILL_RETURN_IF_ERROR(CheckRange(range));
  std::map<size_t, FloatLayer> layers;
  for (FloatLayer& layer : FindFloatLayers(lowered)) {
    if (layer.refusal.empty() && ranges.contains(layer.output)) {
      layers.emplace(layer.node, std::move(layer));
    }
  }
  Graph graph = lowered;
  std::vector<Node> nodes;
  std::map<std::tuple<ValueId, float, float>, ValueId> codes;
  for (size_t n = 0; n < lowered.nodes.size(); ++n) {
    Node& node = graph.nodes[n];
    if (const auto found = layers.find(n); found != layers.end()) {
      const ValueId input = found->second.input;
      const ActivationRange& range = ranges.at(found->second.output);
      const auto [place, added] = codes.try_emplace({input, range.low, range.high}, kNoValue);
      if (added) {
        nodes.push_back(MakeQuantizeNode(graph, input, range));
        place->second = nodes.back().outputs[0];
      }
      node.lowered = Int8Op(*LayerOf(node), graph.value(place->second).code);
      node.inputs = {place->second};
    }
    nodes.push_back(std::move(node));
  }
  graph.nodes = std::move(nodes);
  BITMILL_RETURN_IF_ERROR(CheckLowered(graph));
  return graph;
}

absl::Status FuseFastLayers(Graph& graph) {
  HoistQuantizers(graph);
  FuseEpilogues(graph);
  RemoveDeadNodes(graph);
  return CheckLowered(graph);
}

absl::StatusOr<ValueId> AddInt8Twin(Graph& graph, const FloatLayer& layer,
                                    const ActivationRange& range) {
  BITMILL_RETURN_IF_ERROR(CheckRange(range));
  const Node& node = graph.nodes[layer.node];
  const std::optional<Layer> made = LayerOf(node);
  if (!made.has_value() || !layer.refusal.empty()) {
    return absl::InternalError("a twin of what cannot be int8");
  }
  Node twin;
  twin.name = absl::StrCat(node.name, "/int8");
  twin.op = node.op;
  Value output = graph.value(layer.output);
  output.name += "/int8";
  Node quantize = MakeQuantizeNode(graph, layer.input, range);
  twin.lowered = Int8Op(*made, graph.value(quantize.outputs[0]).code);
  twin.inputs = quantize.outputs;
  twin.outputs = {graph.AddValue(std::move(output))};
  const ValueId result = twin.outputs[0];
  graph.nodes.push_back(std::move(quantize));
  graph.nodes.push_back(std::move(twin));
  return result;
}

}  // namespace bitmill
