#include "backends/cpu/plan_values.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/conv_window.h"
#include "backends/cpu/line_ends.h"
#include "backends/cpu/sequence_steps.h"
#include "base/status_macros.h"
#include "base/tensor.h"
#include "model/ops/op_support.h"

namespace bitmill {
namespace {

bool IsFloatMap(const Graph& graph, ValueId id) {
  const Value& value = graph.value(id);
  return value.constant == nullptr && value.code.kind == CodeKind::kNone &&
         value.dtype == DType::kFloat32 && value.shape.size() == 4 && value.shape[0] == 1;
}

// The operation of a sequence that takes each element with a constant.
bool HasConstantOperand(const Graph& graph, const Node& node) {
  const auto op = SequenceOpOf(graph, node);
  return op && std::holds_alternative<ConstantOperandOp>(*op);
}

// Transpositions read and write images in either storage. What is seen with its channels last is
// best planar, for then it is the image's memory.
bool Permutes(const Graph& graph, const Node& node, PixelOrder planar) {
  const auto op = SequenceOpOf(graph, node);
  return op && std::holds_alternative<PermuteOp>(*op) && PixelOrderOf(graph, node) != planar;
}

// Operations that read (or write) channels-innermost floats as well as planar ones.
bool ReadsEitherFloat(const Graph& graph, const Node& node) {
  return HasConstantOperand(graph, node) || Permutes(graph, node, PixelOrder::kToImage) ||
         BinaryOpOf(graph, node).has_value() || FloatPoolOf(graph, node).has_value() ||
         IsChannelConcat(graph, node) || std::holds_alternative<QuantizeOp>(node.lowered) ||
         std::holds_alternative<ElementwiseOp>(node.lowered) ||
         std::holds_alternative<FloatConvOp>(node.lowered);
}

bool WritesEitherFloat(const Graph& graph, const Node& node) {
  return HasConstantOperand(graph, node) || Permutes(graph, node, PixelOrder::kFromImage) ||
         BinaryOpOf(graph, node).has_value() || FloatPoolOf(graph, node).has_value() ||
         IsChannelConcat(graph, node) || std::holds_alternative<DequantizeOp>(node.lowered) ||
         std::holds_alternative<ElementwiseOp>(node.lowered) ||
         std::holds_alternative<LowBitConvOp>(node.lowered) ||
         std::holds_alternative<FloatConvOp>(node.lowered);
}

// Float maps between such operations are kept channels innermost: convolutions produce and want
// them so, and packing reads them at full width. An elementwise chain keeps its input's storage.
std::vector<uint8_t> ChoosePixelFloats(const Graph& graph, const std::vector<ValueUse>& uses) {
  std::vector<uint8_t> chosen(uses.size(), 0);
  std::vector<uint8_t> handed_over(uses.size(), 0);
  for (const auto* const ports : {&graph.inputs, &graph.outputs}) {
    for (const GraphPort& port : *ports) {
      if (port.channels_last) handed_over[static_cast<size_t>(port.value)] = 1;
    }
  }
  for (size_t v = 0; v < uses.size(); ++v) {
    const ValueUse& use = uses[v];
    const auto id = static_cast<ValueId>(v);
    const bool given = handed_over[v] != 0;  // a port that is stored so
    if (use.same_as != id || ((use.producer < 0 || use.is_output) && !given) || use.renamed ||
        !IsFloatMap(graph, id)) {
      continue;
    }
    const auto& nodes = graph.nodes;
    chosen[v] =
        (use.producer < 0 || WritesEitherFloat(graph, nodes[static_cast<size_t>(use.producer)])) &&
        std::all_of(use.consumers.begin(), use.consumers.end(), [&](int32_t n) {
          return ReadsEitherFloat(graph, nodes[static_cast<size_t>(n)]);
        });
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (const Node& node : graph.nodes) {
      if (!BinaryOpOf(graph, node).has_value() && !IsChannelConcat(graph, node) &&
          !HasConstantOperand(graph, node) &&
          !std::holds_alternative<ElementwiseOp>(node.lowered)) {
        continue;
      }
      // Inputs and output are stored alike.
      std::vector<size_t> alike = {static_cast<size_t>(node.outputs[0])};
      for (const ValueId id : node.inputs) {
        if (graph.value(id).constant != nullptr) continue;
        alike.push_back(static_cast<size_t>(uses[static_cast<size_t>(id)].same_as));
      }
      const auto is_chosen = [&](size_t v) { return chosen[v] != 0; };
      if (std::all_of(alike.begin(), alike.end(), is_chosen) ||
          std::none_of(alike.begin(), alike.end(), is_chosen)) {
        continue;
      }
      for (const size_t v : alike) chosen[v] = 0;
      changed = true;
    }
  }
  return chosen;
}

Storage StorageOf(const Value& value, bool pixel_float) {
  switch (value.code.kind) {
    case CodeKind::kBits:
      return Storage::kBits;
    case CodeKind::kUInt8:
      return Storage::kCodes;
    case CodeKind::kNone:
      break;
  }
  return pixel_float ? Storage::kPixelFloat : Storage::kPlain;
}

// The first padded consumer decides the fill; those with the same fill share the widest border.
absl::StatusOr<Border> SharedBorder(const Graph& graph, const ValueUse& use) {
  Border shared;
  for (const int32_t n : use.consumers) {
    const Node& node = graph.nodes[static_cast<size_t>(n)];
    const auto* const conv = std::get_if<LowBitConvOp>(&node.lowered);
    if (conv == nullptr) continue;
    const absl::StatusOr<Border> wanted = WantedBorder(graph, node, *conv);
    if (!wanted.ok()) {
      return absl::Status(wanted.status().code(),
                          absl::StrCat(DescribeNode(graph, node), ": ", wanted.status().message()));
    }
    const Border& want = *wanted;
    if (want.empty()) continue;
    if (shared.empty()) shared.fill = want.fill;
    if (want.fill != shared.fill) continue;
    shared.top = std::max(shared.top, want.top);
    shared.left = std::max(shared.left, want.left);
    shared.bottom = std::max(shared.bottom, want.bottom);
    shared.right = std::max(shared.right, want.right);
  }
  return shared;
}

// Codes are kept tight when all their readers gain.
bool IsTight(const Graph& graph, const ValueUse& use) {
  if (use.producer < 0 || use.consumers.empty()) return false;
  const Node& producer = graph.nodes[static_cast<size_t>(use.producer)];
  if (std::holds_alternative<LowBitMaxPoolOp>(producer.lowered)) return false;
  return std::all_of(use.consumers.begin(), use.consumers.end(), [&](int32_t n) {
    const Node& node = graph.nodes[static_cast<size_t>(n)];
    const auto* const conv = std::get_if<LowBitConvOp>(&node.lowered);
    return conv != nullptr && GainsFromTightCodes(graph, node, *conv);
  });
}

// Whether a concatenated map may lie in the memory of the map that node n makes of it and others:
// it is first there, and all its other readers can do with pixels that lie further apart.
bool CanBePart(const Graph& graph, const ValueUse& use, ValueId id, int32_t n) {
  if (use.same_as != id || use.renamed || use.is_output || use.producer < 0 ||
      !IsChannelConcat(graph, graph.nodes[static_cast<size_t>(use.producer)])) {
    return false;
  }
  int uses_here = 0;
  for (const int32_t consumer : use.consumers) {
    if (consumer == n) {
      ++uses_here;
      continue;
    }
    const Node& node = graph.nodes[static_cast<size_t>(consumer)];
    const auto* const quantize = std::get_if<QuantizeOp>(&node.lowered);
    if (quantize == nullptr || !quantize->chain.empty() || node.inputs[0] != id) return false;
  }
  return uses_here == 1;
}

// Layers that join their channels to all before them, again and again: the joined maps become one
// memory that each layer adds to, instead of a copy of everything for each.
void NestConcats(const Graph& graph, std::vector<ValueUse>& uses) {
  // The last one first: its pixels are those of all.
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (!IsChannelConcat(graph, node)) continue;
    ValueUse& whole = uses[static_cast<size_t>(node.outputs[0])];
    ValueUse& part = uses[static_cast<size_t>(node.inputs[0])];
    if (whole.layout.storage != Storage::kPixelFloat || whole.same_as != node.outputs[0] ||
        part.layout.storage != Storage::kPixelFloat ||
        !CanBePart(graph, part, node.inputs[0], static_cast<int32_t>(n))) {
      continue;
    }
    part.part_of = node.outputs[0];
    part.layout.pixel_bytes = whole.layout.pixel_bytes;
    part.layout.row_bytes = whole.layout.row_bytes;
    part.layout.image_bytes = whole.layout.image_bytes;
    whole.has_part = true;
  }
}

// Whether two shapes are images of the same channels, their pixels in the same order.
bool KeepsChannels(const Shape& a, const Shape& b) {
  return a.size() == 4 && b.size() == 4 && a[0] == 1 && b[0] == 1 && a[1] == b[1];
}

// Transpositions that move no element, given how images are stored, make two values the same
// memory, with the readers of both.
void JoinPixelOrders(const Graph& graph, const std::vector<uint8_t>& pixel_float,
                     std::vector<ValueUse>& uses) {
  for (const Node& node : graph.nodes) {
    const PixelOrder order = PixelOrderOf(graph, node);
    if (order == PixelOrder::kNone) continue;
    const auto from = static_cast<size_t>(node.inputs[0]);
    const auto to = static_cast<size_t>(node.outputs[0]);
    const size_t image = order == PixelOrder::kToImage ? to : from;
    const size_t planar = order == PixelOrder::kToImage ? from : to;
    if (pixel_float[image] == 0 || pixel_float[planar] != 0) continue;
    const ValueId joined = uses[to].same_as;  // itself
    ValueUse& root = uses[static_cast<size_t>(uses[from].same_as)];
    for (ValueUse& use : uses) {
      if (use.same_as == joined) use.same_as = uses[from].same_as;
    }
    root.consumers.insert(root.consumers.end(), uses[to].consumers.begin(),
                          uses[to].consumers.end());
    root.is_output = root.is_output || uses[to].is_output;
    root.renamed = true;
  }
}

}  // namespace

bool IsAliasNode(const Graph& graph, const Node& node) {
  static constexpr std::array<const char*, 5> kRenaming = {"Reshape", "Flatten", "Squeeze",
                                                           "Unsqueeze", "Identity"};
  if (!std::holds_alternative<std::monostate>(node.lowered) || node.inputs.empty() ||
      node.outputs.empty() || node.inputs[0] == kNoValue || node.outputs[0] == kNoValue ||
      std::find(kRenaming.begin(), kRenaming.end(), node.op) == kRenaming.end()) {
    return false;
  }
  const Value& from = graph.value(node.inputs[0]);
  const Value& to = graph.value(node.outputs[0]);
  return from.dtype == to.dtype && from.code.kind == CodeKind::kNone &&
         to.code.kind == CodeKind::kNone && ElementCount(from.shape) == ElementCount(to.shape);
}

std::optional<BinaryOp> BinaryOpOf(const Graph& graph, const Node& node) {
  if (!std::holds_alternative<std::monostate>(node.lowered) || node.inputs.size() != 2 ||
      node.outputs.size() != 1 || node.outputs[0] == kNoValue ||
      !(node.domain.empty() || node.domain == "ai.onnx")) {
    return std::nullopt;
  }
  const Value& output = graph.value(node.outputs[0]);
  for (const ValueId id : node.inputs) {
    if (id == kNoValue) return std::nullopt;
    const Value& input = graph.value(id);
    if (input.constant != nullptr || input.dtype != DType::kFloat32 ||
        input.code.kind != CodeKind::kNone || input.shape != output.shape) {
      return std::nullopt;
    }
  }
  if (node.op == "Add") return BinaryOp::kAdd;
  if (node.op == "Sub") return BinaryOp::kSub;
  if (node.op == "Mul") return BinaryOp::kMul;
  if (node.op == "Div") return BinaryOp::kDiv;
  return std::nullopt;
}

std::optional<FloatPool> FloatPoolOf(const Graph& graph, const Node& node) {
  const bool maximum = node.op == "MaxPool" || node.op == "GlobalMaxPool";
  if (!std::holds_alternative<std::monostate>(node.lowered) ||
      !(maximum || node.op == "AveragePool" || node.op == "GlobalAveragePool") ||
      !(node.domain.empty() || node.domain == "ai.onnx") || node.inputs.size() != 1 ||
      node.outputs.size() != 1 || node.inputs[0] == kNoValue || node.outputs[0] == kNoValue ||
      !IsFloatMap(graph, node.inputs[0])) {
    return std::nullopt;
  }
  const Shape& shape = graph.value(node.inputs[0]).shape;
  absl::StatusOr<SlidingWindow> window = PoolWindowOf(node, absl::MakeConstSpan(shape).subspan(2));
  if (!window.ok()) return std::nullopt;
  return FloatPool{maximum, AttrInt(node, "count_include_pad", 0) != 0, *std::move(window)};
}

bool IsChannelConcat(const Graph& graph, const Node& node) {
  if (!std::holds_alternative<std::monostate>(node.lowered) || node.op != "Concat" ||
      !(node.domain.empty() || node.domain == "ai.onnx") || node.outputs.size() != 1 ||
      node.outputs[0] == kNoValue || !IsFloatMap(graph, node.outputs[0])) {
    return false;
  }
  const int64_t axis = AttrInt(node, "axis", 0);
  return (axis == 1 || axis == -3) &&
         std::all_of(node.inputs.begin(), node.inputs.end(),
                     [&](ValueId id) { return id != kNoValue && IsFloatMap(graph, id); });
}

bool UsesBitKernel(const LowBitConvOp& op, const Value& input) {
  return input.code.kind == CodeKind::kBits &&
         (op.weight_bits == 1 || (op.weight_bits == 2 && op.ternary));
}

absl::StatusOr<Border> WantedBorder(const Graph& graph, const Node& node, const LowBitConvOp& op) {
  const Value& input = graph.value(node.inputs[0]);
  const Value& output = graph.value(node.outputs[0]);
  const bool bits = input.code.kind == CodeKind::kBits;
  if (bits && !UsesBitKernel(op, input)) return Border{};
  BITMILL_ASSIGN_OR_RETURN(
      const BufferLayout in,
      MakeLayout(bits ? Storage::kBits : Storage::kCodes, DType::kUInt8, input.shape));
  BITMILL_ASSIGN_OR_RETURN(const BufferLayout out,
                           MakeLayout(Storage::kPlain, DType::kFloat32, output.shape));
  BITMILL_ASSIGN_OR_RETURN(const ConvWindow window, MakeConvWindow(op, in, out));
  Border border = window.NeededBorder();
  if (border.empty()) return border;
  if (bits) {
    border.fill = op.padding == Padding::kMinusOne ? 1 : 0;
  } else {
    BITMILL_ASSIGN_OR_RETURN(border.fill, PaddingCode(op.padding, input.code));
  }
  return border;
}

bool GainsFromTightCodes(const Graph& graph, const Node& node, const LowBitConvOp& op) {
  const Value& input = graph.value(node.inputs[0]);
  if (input.code.kind != CodeKind::kUInt8 || op.groups != 1 || op.dilation_w != 1 ||
      op.weights == nullptr || op.weights->shape().size() != 4) {
    return false;
  }
  ConvWindow window;
  window.in_channels = op.weights->shape()[1];
  window.kernel_h = op.weights->shape()[2];
  window.kernel_w = op.weights->shape()[3];
  window.stride_h = op.stride_h;
  window.stride_w = op.stride_w;
  return window.in_channels < 4 && LineEndsOf(window, 1).steps(window) < window.taps();
}

bool BorderServes(const Border& have, const Border& want) {
  return want.empty() ||
         (have.fill == want.fill && have.top >= want.top && have.left >= want.left &&
          have.bottom >= want.bottom && have.right >= want.right);
}

absl::StatusOr<std::vector<ValueUse>> AnalyseValues(const Graph& graph) {
  std::vector<ValueUse> uses(graph.values.size());
  for (size_t v = 0; v < uses.size(); ++v) uses[v].same_as = static_cast<ValueId>(v);
  const auto use_of = [&](ValueId id) -> ValueUse& {
    return uses[static_cast<size_t>(uses[static_cast<size_t>(id)].same_as)];
  };
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    uses[static_cast<size_t>(graph.inputs[i].value)].input_port = static_cast<int32_t>(i);
  }
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (IsAliasNode(graph, node)) {
      const bool image =
          KeepsChannels(graph.value(node.inputs[0]).shape, graph.value(node.outputs[0]).shape);
      uses[static_cast<size_t>(node.outputs[0])].same_as = use_of(node.inputs[0]).same_as;
      if (!image) use_of(node.inputs[0]).renamed = true;
      continue;
    }
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) use_of(id).consumers.push_back(static_cast<int32_t>(n));
    }
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) uses[static_cast<size_t>(id)].producer = static_cast<int32_t>(n);
    }
  }
  for (const GraphPort& port : graph.outputs) use_of(port.value).is_output = true;

  std::vector<uint8_t> pixel_float = ChoosePixelFloats(graph, uses);
  for (size_t v = 0; v < uses.size(); ++v) {
    pixel_float[v] = pixel_float[static_cast<size_t>(uses[v].same_as)];
  }
  JoinPixelOrders(graph, pixel_float, uses);
  for (size_t v = 0; v < uses.size(); ++v) {
    const Value& value = graph.values[v];
    if (value.constant != nullptr || value.dtype == DType::kInvalid) continue;
    const Storage storage = StorageOf(value, pixel_float[v] != 0);
    Border border;
    if (storage == Storage::kBits || storage == Storage::kCodes) {
      BITMILL_ASSIGN_OR_RETURN(border, SharedBorder(graph, uses[v]));
    }
    const bool tight = storage == Storage::kCodes && IsTight(graph, uses[v]);
    absl::StatusOr<BufferLayout> layout =
        MakeLayout(storage, value.dtype, value.shape, border, tight);
    if (!layout.ok()) {
      return absl::Status(layout.status().code(),
                          absl::StrCat("value '", value.name, "': ", layout.status().message()));
    }
    uses[v].layout = *std::move(layout);
  }
  NestConcats(graph, uses);
  return uses;
}

}  // namespace bitmill
