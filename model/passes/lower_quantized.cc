#include "model/passes/lower_quantized.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "model/passes/accumulator.h"
#include "model/passes/graph_edit.h"
#include "model/passes/quantized_walk.h"

namespace bitmill {
namespace {

constexpr int32_t kMaxLevels = 256;

int32_t LowestOf(DType dtype) { return dtype == DType::kInt8 ? -128 : 0; }

bool SameInfo(const CodeInfo& a, const CodeInfo& b) {
  return a.kind == b.kind && a.scale == b.scale && a.zero_point == b.zero_point &&
         a.levels == b.levels;
}

std::optional<Rounding> RoundingStep(ChainOp op) {
  if (op == ChainOp::kFloor) return Rounding::kFloor;
  if (op == ChainOp::kCeil) return Rounding::kCeil;
  if (op == ChainOp::kRound) return Rounding::kHalfEven;
  return std::nullopt;
}

// Whether the codes that go in come out, in another place.
bool PassesCodesOn(const Node& node) {
  return std::holds_alternative<LowBitMaxPoolOp>(node.lowered) ||
         std::holds_alternative<LowBitTransposeOp>(node.lowered);
}

}  // namespace

void LowerQuantized(Graph& graph) { QuantizedWalk(graph).Run(); }

void QuantizedWalk::Run() {
  std::vector<Node> nodes = std::move(graph_.nodes);
  graph_.nodes.clear();
  for (Node& node : nodes) {
    if (!IsErased(node)) Visit(std::move(node));
  }
  WidenBits();
  graph_.nodes = std::move(done_);
}

void QuantizedWalk::WidenBits() {
  // Up to the quantizers, through poolings; then down again to whatever else is pooled from them.
  std::vector<bool> wide(graph_.values.size(), false);
  for (ValueId bits : wide_readers_) {
    for (const Node* node = ProducerOf(bits); node != nullptr; node = ProducerOf(bits)) {
      wide[static_cast<size_t>(bits)] = true;
      bits = node->inputs[0];
      if (!PassesCodesOn(*node)) break;
    }
  }
  for (Node& node : done_) {
    auto* const quantize = std::get_if<QuantizeOp>(&node.lowered);
    const bool passes_on = PassesCodesOn(node);
    if (passes_on && wide[static_cast<size_t>(node.inputs[0])]) {
      wide[static_cast<size_t>(node.outputs[0])] = true;
    }
    if ((quantize == nullptr && !passes_on) || !wide[static_cast<size_t>(node.outputs[0])])
      continue;
    CodeInfo& code = graph_.value(node.outputs[0]).code;
    code = WideBits(code.scale);
    if (quantize == nullptr) continue;
    // Both steps are taken at once, so code 1 never occurs.
    for (const float threshold : quantize->bit_thresholds) {
      const float t = std::isnan(threshold) ? std::numeric_limits<float>::infinity() : threshold;
      quantize->level_thresholds.insert(quantize->level_thresholds.end(), {t, t});
    }
    quantize->level_channels = static_cast<int64_t>(quantize->bit_thresholds.size());
    quantize->bit_thresholds.clear();
    quantize->bit_invert.clear();
    quantize->quantizer = Quantizer{};
    quantize->quantizer.code = code;
    quantize->uniform = false;
  }
}

void QuantizedWalk::Visit(Node node) {
  if (std::holds_alternative<ElementwiseOp>(node.lowered)) return VisitChain(std::move(node));
  if (auto spec = QuantizerSpecOf(graph_, node)) {
    return VisitQuantizer(std::move(node), *std::move(spec));
  }
  if (VisitTranspose(node) || VisitMaxPool(node) || VisitLinear(node) ||
      VisitDequantizeLinear(node) || VisitCast(node)) {
    return;
  }
  if (KeepsOrder(graph_, node)) view(node.outputs[0]) = view(node.inputs[0]);
  if (IsOp(node, "Concat")) VisitConcat(node);
  Keep(std::move(node));
}

void QuantizedWalk::VisitChain(Node node) {
  const ValueId input = node.inputs[0];
  const ValueId output = node.outputs[0];
  const Chain& chain = std::get<ElementwiseOp>(node.lowered).chain;
  if (view(input)) {
    if (auto through = ViewThroughChain(chain, *view(input))) {
      view(output) = through;
      return Keep(std::move(node));
    }
  }
  const Shape shape = graph_.value(input).shape;
  const auto step = FindIntegerStep(chain, shape);
  if (!step) return Keep(std::move(node));

  const auto cut = [&](size_t from, size_t to) {
    return Chain(chain.begin() + static_cast<ptrdiff_t>(from),
                 chain.begin() + static_cast<ptrdiff_t>(to));
  };
  ValueId before = input;
  if (step->first > 0) {
    before = NewValue(graph_.value(output).name + "/before", DType::kFloat32, shape);
    Node prefix = node;
    prefix.outputs = {before};
    prefix.lowered = ElementwiseOp{cut(0, step->first)};
    Keep(std::move(prefix));
  }
  const bool last = step->past == chain.size();
  const ValueId rounded =
      last ? output : NewValue(graph_.value(output).name + "/rounded", DType::kFloat32, shape);
  const CodeInfo info = step->spec.quantizer.code;
  const ValueId codes = NewCodes(graph_.value(output).name, shape, info);
  EmitQuantize(node, before, step->spec, codes);
  EmitDequantize(node, codes, rounded);
  view(rounded) = QuantizedView{info, codes};
  if (last) return;
  Node rest = node;
  rest.inputs = {rounded};
  rest.lowered = ElementwiseOp{cut(step->past, chain.size())};
  VisitChain(std::move(rest));
}

std::optional<QuantizedWalk::IntegerStep> QuantizedWalk::FindIntegerStep(const Chain& chain,
                                                                         const Shape& shape) const {
  if (!CanHoldCodes(shape)) return std::nullopt;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < chain.size(); ++i) {
    const auto rounding = RoundingStep(chain[i].op);
    if (!rounding) continue;
    IntegerStep step;
    step.first = i;
    step.past = i + 1;
    if (step.past < chain.size() && chain[step.past].op == ChainOp::kClip &&
        chain[step.past].operand.size() == 1 && chain[step.past].operand2.size() == 1) {
      ++step.past;
    }
    const Chain prefix(chain.begin(), chain.begin() + static_cast<ptrdiff_t>(step.past));
    float low = kInfinity;
    float high = -kInfinity;
    bool bounded = true;
    for (int64_t c = 0; c < shape[1] && bounded; ++c) {
      bounded = ChainMonotonicity(prefix, c).monotone;
      if (!bounded) break;
      for (const float end : {-kInfinity, kInfinity}) {
        const float x = EvaluateChain(prefix, end, c);
        bounded = bounded && std::fabs(x) < 1e6F && std::nearbyint(x) == x;
        low = std::min(low, x);
        high = std::max(high, x);
      }
    }
    if (!bounded || high <= low || high - low >= static_cast<float>(kMaxLevels)) continue;
    step.spec = IntegerSpec(static_cast<int32_t>(low), static_cast<int32_t>(high), *rounding);
    return step;
  }
  return std::nullopt;
}

void QuantizedWalk::VisitQuantizer(Node node, QuantizerSpec spec) {
  const ValueId input = node.inputs[0];
  const ValueId output = node.outputs[0];
  const Shape shape = graph_.value(input).shape;
  if (!CanHoldCodes(shape) || graph_.value(input).constant != nullptr) return Keep(std::move(node));
  if (IsOp(node, "Sign") && IsBipolarSign(input)) spec = BipolarSpec(1.0F);
  const CodeInfo info = spec.quantizer.code;
  const ValueId codes = NewCodes(graph_.value(output).name, shape, info);
  EmitQuantize(node, input, spec, codes);
  if (graph_.value(output).dtype == DType::kFloat32) {
    view(output) = QuantizedView{info, codes};
    return EmitDequantize(node, codes, output);
  }
  // The integers of a QuantizeLinear are a value of their own; the code is that integer, shifted.
  const int32_t lowest = LowestOf(graph_.value(output).dtype);
  view(output) = QuantizedView{{CodeKind::kUInt8, 1.0F, -lowest, info.levels}, codes};
  Keep(std::move(node));
}

bool QuantizedWalk::IsBipolarSign(ValueId input) const {
  Chain after;
  for (;;) {
    const Node* node = ProducerOf(input);
    if (node == nullptr) return false;
    if (const auto* chain = std::get_if<ElementwiseOp>(&node->lowered)) {
      after.insert(after.begin(), chain->chain.begin(), chain->chain.end());
    } else if (const auto* conv = std::get_if<LowBitConvOp>(&node->lowered)) {
      return NeverZero(*conv, graph_.value(node->inputs[0]).code, after);
    } else if (!IsOp(*node, "MaxPool") && !KeepsOrder(graph_, *node)) {
      return false;
    }
    // A chain a channel behind a reshape would index other channels than the convolution's.
    if (KeepsOrder(graph_, *node) &&
        !SameStorage(graph_.value(node->inputs[0]).shape, graph_.value(node->outputs[0]).shape)) {
      return false;
    }
    input = node->inputs[0];
  }
}

bool QuantizedWalk::VisitMaxPool(const Node& node) {
  const auto window = MaxPoolWindowOf(graph_, node);
  if (!window || !view(node.inputs[0])) return false;
  const ValueId output = node.outputs[0];
  if (graph_.value(output).dtype != DType::kFloat32) return false;
  const ValueId codes = CodesFor(node.inputs[0], false);
  if (codes == kNoValue) return false;
  const CodeInfo info = view(node.inputs[0])->info;
  const ValueId pooled = NewCodes(graph_.value(output).name, graph_.value(output).shape, info);
  LowBitMaxPoolOp pool;
  pool.kernel_h = window->kernel_h;
  pool.kernel_w = window->kernel_w;
  pool.stride_h = window->stride_h;
  pool.stride_w = window->stride_w;
  pool.dilation_h = window->dilation_h;
  pool.dilation_w = window->dilation_w;
  pool.pad_top = window->pad_top;
  pool.pad_left = window->pad_left;
  pool.pad_bottom = window->pad_bottom;
  pool.pad_right = window->pad_right;
  Node lowered = node;
  lowered.inputs = {codes};
  lowered.outputs = {pooled};
  lowered.lowered = std::move(pool);
  Keep(std::move(lowered));
  EmitDequantize(node, pooled, output);
  view(output) = QuantizedView{info, pooled};
  return true;
}

// Tokens and channels change places (model/passes/token_images.h).
bool QuantizedWalk::VisitTranspose(const Node& node) {
  if (!IsOp(node, "Transpose") || !view(node.inputs[0])) return false;
  const ValueId input = node.inputs[0];
  const ValueId output = node.outputs[0];
  const Shape& shape = graph_.value(input).shape;
  if (graph_.value(input).dtype != DType::kFloat32 || shape.size() != 4 || shape[0] != 1 ||
      shape[2] != 1 || IntsAttribute(node, "perm") != std::vector<int64_t>{0, 3, 2, 1}) {
    return false;
  }
  const ValueId codes = CodesFor(input, false);
  if (codes == kNoValue || graph_.value(codes).shape != graph_.value(input).shape) return false;
  const CodeInfo info = view(input)->info;
  const ValueId turned = NewCodes(graph_.value(output).name, graph_.value(output).shape, info);
  Node lowered = node;
  lowered.inputs = {codes};
  lowered.outputs = {turned};
  lowered.lowered = LowBitTransposeOp{};
  Keep(std::move(lowered));
  EmitDequantize(node, turned, output);
  view(output) = QuantizedView{info, turned};
  return true;
}

void QuantizedWalk::VisitConcat(const Node& node) {
  if (graph_.value(node.outputs[0]).dtype != DType::kFloat32) return;
  const auto& first = view(node.inputs[0]);
  if (!first) return;
  const CodeInfo info = first->info;
  for (const ValueId id : node.inputs) {
    if (!view(id) || !SameInfo(view(id)->info, info)) return;
  }
  view(node.outputs[0]) = QuantizedView{info, kNoValue};
}

bool QuantizedWalk::VisitDequantizeLinear(const Node& node) {
  if (!IsOp(node, "DequantizeLinear")) return false;
  const ValueId input = node.inputs[0];
  const ValueId output = node.outputs[0];
  const DType dtype = graph_.value(input).dtype;
  const Tensor* const scale = ConstantInput(graph_, node, 1);
  float step = 0.0F;
  float zero_point = 0.0F;
  const bool known = scale != nullptr && UniformValue(*scale, &step) && std::isfinite(step) &&
                     step > 0.0F &&
                     (InputOf(node, 2) == kNoValue ||
                      (ConstantInput(graph_, node, 2) != nullptr &&
                       UniformValue(*ConstantInput(graph_, node, 2), &zero_point)));
  if (!known || graph_.value(input).constant != nullptr ||
      graph_.value(output).dtype != DType::kFloat32 ||
      (dtype != DType::kInt8 && dtype != DType::kUInt8)) {
    return false;
  }
  const QuantizedView integers = view(input).value_or(
      QuantizedView{{CodeKind::kUInt8, 1.0F, -LowestOf(dtype), kMaxLevels}, kNoValue});
  CodeInfo info = integers.info;
  info.scale = step;
  info.zero_point += static_cast<int32_t>(zero_point);
  view(output) = QuantizedView{info, integers.codes};
  if (integers.codes == kNoValue) return false;
  if (!SameInfo(graph_.value(integers.codes).code, info) ||
      graph_.value(integers.codes).shape != graph_.value(output).shape) {
    return false;
  }
  EmitDequantize(node, integers.codes, output);
  return true;
}

bool QuantizedWalk::VisitCast(const Node& node) {
  if (!IsOp(node, "Cast") || graph_.value(node.outputs[0]).dtype != DType::kFloat32) return false;
  const auto found = float_behind_.find(node.inputs[0]);
  if (found == float_behind_.end()) return false;
  Node same = node;
  same.inputs = {found->second};
  same.lowered = ElementwiseOp{};
  Keep(std::move(same));
  return true;
}

ValueId QuantizedWalk::CodesFor(ValueId value, bool any_shape) {
  if (!view(value)) return kNoValue;
  const QuantizedView known = *view(value);
  if (known.codes != kNoValue) {
    const Value& codes = graph_.value(known.codes);
    if (codes.code.zero_point == known.info.zero_point &&
        (any_shape || SameStorage(codes.shape, graph_.value(value).shape))) {
      return known.codes;
    }
  }
  const Shape shape = graph_.value(value).shape;
  if (graph_.value(value).dtype != DType::kFloat32 || !CanHoldCodes(shape)) return kNoValue;
  const ValueId codes =
      NewCodes(absl::StrCat(graph_.value(value).name, "/recovered"), shape, known.info);
  Node origin;
  origin.op = "Quantize";
  EmitQuantize(origin, value, RecoverySpec(known.info), codes);
  view(value) = QuantizedView{known.info, codes};
  return codes;
}

void QuantizedWalk::Keep(Node node) {
  for (const ValueId id : node.outputs) {
    if (id != kNoValue) producers_[id] = done_.size();
  }
  done_.push_back(std::move(node));
}

ValueId QuantizedWalk::NewValue(const std::string& name, DType dtype, const Shape& shape) {
  Value value;
  value.name = name;
  value.dtype = dtype;
  value.shape = shape;
  return graph_.AddValue(std::move(value));
}

ValueId QuantizedWalk::NewCodes(const std::string& name, const Shape& shape, const CodeInfo& info) {
  const ValueId id = NewValue(name + "/codes", DType::kFloat32, shape);
  graph_.value(id).code = info;
  return id;
}

void QuantizedWalk::EmitQuantize(const Node& origin, ValueId input, const QuantizerSpec& spec,
                                 ValueId codes) {
  QuantizeOp op;
  op.quantizer = spec.quantizer;
  op.uniform = spec.uniform;
  if (spec.quantizer.code.kind == CodeKind::kBits) {
    op.bit_thresholds = spec.thresholds;
    op.bit_invert.assign(spec.thresholds.size(), 0);
  } else {
    op.level_thresholds = spec.thresholds;
    op.level_channels = spec.channels;
    for (float& t : op.level_thresholds) {
      if (std::isnan(t)) t = std::numeric_limits<float>::infinity();
    }
  }
  Node node = origin;
  node.inputs = {input};
  node.outputs = {codes};
  node.lowered = std::move(op);
  Keep(std::move(node));
}

void QuantizedWalk::EmitDequantize(const Node& origin, ValueId codes, ValueId output) {
  Node node = origin;
  node.inputs = {codes};
  node.outputs = {output};
  node.lowered = DequantizeOp{};
  Keep(std::move(node));
}

std::optional<QuantizedView>& QuantizedWalk::view(ValueId id) {
  if (views_.size() < graph_.values.size()) views_.resize(graph_.values.size());
  return views_[static_cast<size_t>(id)];
}

const Node* QuantizedWalk::ProducerOf(ValueId id) const {
  const auto found = producers_.find(id);
  return found == producers_.end() ? nullptr : &done_[found->second];
}

}  // namespace bitmill
