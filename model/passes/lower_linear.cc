// The part of the quantized walk that turns linear layers into LowBitConvOp.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "model/passes/accumulator.h"
#include "model/passes/graph_edit.h"
#include "model/passes/quantized_walk.h"

namespace bitmill {
namespace {

// Whole numbers up to here are exact as floats.
constexpr int64_t kExactFloat = int64_t{1} << 24;

// The largest |acc|, from the largest weight; nullopt when it does not fit 32 bits in any order of
// summation, with codes from 0 or from the zero point.
std::optional<int64_t> AccumulatorBound(const LinearLayer& layer, const IntegerWeights& weights,
                                        const CodeInfo& info) {
  int64_t largest = 0;
  for (const int8_t w : weights.values) largest = std::max<int64_t>(largest, std::abs(int{w}));
  const int64_t magnitude =
      std::max<int64_t>(LargestMagnitude(info), info.kind == CodeKind::kBits ? 1 : info.levels - 1);
  auto bound = CheckedProduct(
      {layer.in_channels, layer.window.kernel_h, layer.window.kernel_w, largest, magnitude});
  if (!bound || *bound >= std::numeric_limits<int32_t>::max()) return std::nullopt;
  return bound;
}

bool HasCode(const CodeInfo& info, int32_t code) { return code >= 0 && code < info.levels; }

// Adds the borders of a Pad to those of the window; false when no Padding says what they hold.
bool AddPad(const SpatialPad& pad, const CodeInfo& info, Window& window, Padding& padding) {
  if (pad.top == 0 && pad.left == 0 && pad.bottom == 0 && pad.right == 0) return true;
  const bool zero = pad.value == 0.0F;
  const bool one = pad.value == info.scale || pad.value == -info.scale;
  if (!zero && (!one || window.padded())) return false;
  padding = zero                      ? Padding::kZero
            : pad.value == info.scale ? Padding::kPlusOne
                                      : Padding::kMinusOne;
  window.pad_top += pad.top;
  window.pad_left += pad.left;
  window.pad_bottom += pad.bottom;
  window.pad_right += pad.right;
  return true;
}

bool CanPad(const CodeInfo& info, Padding padding) {
  if (info.kind == CodeKind::kBits) return true;
  const int32_t step = padding == Padding::kZero ? 0 : padding == Padding::kPlusOne ? 1 : -1;
  return HasCode(info, info.zero_point + step);
}

bool IsIntegerOp(const Node& node) {
  return IsOp(node, "QLinearConv") || IsOp(node, "QLinearMatMul") || IsOp(node, "ConvInteger") ||
         IsOp(node, "MatMulInteger");
}

}  // namespace

std::optional<IntegerInput> IntegerInputOf(const Node& node) {
  if (IsOp(node, "QLinearConv") || IsOp(node, "QLinearMatMul")) {
    return IntegerInput{InputOf(node, 1), InputOf(node, 2)};
  }
  if (IsOp(node, "ConvInteger") || IsOp(node, "MatMulInteger")) {
    return IntegerInput{kNoValue, InputOf(node, 2)};
  }
  return std::nullopt;
}

bool QuantizedWalk::VisitLinear(const Node& node) {
  const bool integer = IsIntegerOp(node);
  // Cheap refusals first: the layer is a copy of its weights.
  if (node.inputs.empty() || node.inputs[0] == kNoValue) return false;
  if (!integer && !view(node.inputs[0]) && ProducerOf(node.inputs[0]) == nullptr) return false;
  const auto layer = LinearLayerOf(graph_, node);
  if (!layer) return false;
  const auto weights = FindIntegerWeights(layer->weights, layer->out_channels);
  if (!weights) return false;
  const auto input = integer ? CodedInputOfInteger(node, *layer) : CodedInputOf(*layer, *weights);
  if (!input || (input->window.padded() && !CanPad(input->info, input->padding))) return false;
  const auto bound = AccumulatorBound(*layer, *weights, input->info);
  if (!bound) return false;
  const Shape& output_shape = graph_.value(node.outputs[0]).shape;
  if (!integer) {
    EmitConv(node, *layer, *weights, *input, node.outputs[0]);
    return true;
  }
  const ValueId real = NewValue(absl::StrCat(graph_.value(node.outputs[0]).name, "/real"),
                                DType::kFloat32, output_shape);
  if (IsOp(node, "QLinearConv") || IsOp(node, "QLinearMatMul")) {
    EmitConv(node, *layer, *weights, *input, real);
    return FinishQLinear(node, real);
  }
  float largest_scale = 0.0F;
  for (const float scale : weights->scale)
    largest_scale = std::max(largest_scale, std::fabs(scale));
  if (static_cast<float>(*bound) * largest_scale >= static_cast<float>(kExactFloat)) return false;
  EmitConv(node, *layer, *weights, *input, real);
  Node cast;
  cast.name = node.name;
  cast.op = "Cast";
  cast.attributes["to"] = int64_t{6};  // INT32 in the ONNX enumeration of element types
  cast.inputs = {real};
  cast.outputs = node.outputs;
  float_behind_[node.outputs[0]] = real;
  Keep(std::move(cast));
  return true;
}

std::optional<QuantizedWalk::CodedInput> QuantizedWalk::CodedInputOf(
    const LinearLayer& layer, const IntegerWeights& weights) {
  CodedInput input;
  input.window = layer.window;
  ValueId source = layer.input;
  std::optional<SpatialPad> pad;
  if (!layer.dense && !view(source)) {
    const Node* producer = ProducerOf(source);
    if (producer != nullptr) pad = SpatialPadOf(graph_, *producer);
    if (pad) source = pad->input;
  }
  if (!view(source)) return std::nullopt;
  const bool bits_will_do = weights.bits == 1 || weights.ternary;
  if (pad && !AddPad(*pad, view(source)->info, input.window, input.padding)) return std::nullopt;
  input.codes = CodesFor(source, layer.dense);
  if (input.codes == kNoValue) return std::nullopt;
  input.info = view(source)->info;
  if (input.info.kind == CodeKind::kBits && !bits_will_do) input.info = WideBits(input.info.scale);
  return input;
}

std::optional<QuantizedWalk::CodedInput> QuantizedWalk::CodedInputOfInteger(
    const Node& node, const LinearLayer& layer) {
  const auto parameters = IntegerInputOf(node);
  const ValueId integers = layer.input;
  const DType dtype = graph_.value(integers).dtype;
  if (!parameters || (dtype != DType::kInt8 && dtype != DType::kUInt8)) return std::nullopt;
  float scale = 1.0F;
  float zero_point = 0.0F;
  const auto read = [&](ValueId id, float* value) {
    if (id == kNoValue) return true;
    const Tensor* constant = graph_.value(id).constant.get();
    return constant != nullptr && UniformValue(*constant, value);
  };
  if (!read(parameters->scale, &scale) || !read(parameters->zero_point, &zero_point) ||
      !std::isfinite(scale) || scale <= 0.0F) {
    return std::nullopt;
  }
  const Shape shape = graph_.value(integers).shape;
  const int32_t lowest = dtype == DType::kInt8 ? -128 : 0;
  const CodeInfo info{CodeKind::kUInt8, scale, static_cast<int32_t>(zero_point) - lowest, 256};
  CodedInput input;
  input.window = layer.window;
  input.info = info;
  if (view(integers) && view(integers)->codes != kNoValue) {
    const Value& codes = graph_.value(view(integers)->codes);
    const bool fits = layer.dense || SameStorage(codes.shape, shape);
    if (fits && view(integers)->info.zero_point == -lowest &&
        codes.code.zero_point == info.zero_point) {
      input.codes = view(integers)->codes;
      return input;
    }
  }
  if (!CanHoldCodes(shape)) return std::nullopt;
  // The integers come from elsewhere (a graph input, say): as floats they can be quantized.
  ValueId scale_value = parameters->scale;
  if (scale_value == kNoValue) {
    scale_value = NewValue(graph_.value(integers).name + "/scale", DType::kFloat32, {});
    const float one = 1.0F;
    graph_.value(scale_value).constant = std::make_shared<const Tensor>(
        Tensor::Of<float>(DType::kFloat32, {}, absl::MakeConstSpan(&one, 1)));
  }
  Node dequantize;
  dequantize.name = node.name;
  dequantize.op = "DequantizeLinear";
  dequantize.inputs = {integers, scale_value};
  if (parameters->zero_point != kNoValue) dequantize.inputs.push_back(parameters->zero_point);
  const ValueId real = NewValue(graph_.value(integers).name + "/real", DType::kFloat32, shape);
  dequantize.outputs = {real};
  Keep(std::move(dequantize));
  view(real) = QuantizedView{info, kNoValue};
  input.codes = CodesFor(real, layer.dense);
  return input.codes == kNoValue ? std::nullopt : std::optional(input);
}

void QuantizedWalk::EmitConv(const Node& node, const LinearLayer& layer,
                             const IntegerWeights& weights, const CodedInput& input,
                             ValueId output) {
  if (input.info.kind != graph_.value(input.codes).code.kind) wide_readers_.push_back(input.codes);
  LowBitConvOp op;
  Window window = input.window;
  int64_t channels = layer.in_channels;
  if (layer.dense) {
    const Shape& image = graph_.value(input.codes).shape;
    channels = image[1];
    window.kernel_h = image.size() == 4 ? image[2] : 1;
    window.kernel_w = image.size() == 4 ? image[3] : 1;
  }
  op.weights = std::make_shared<const Tensor>(Tensor::Of<int8_t>(
      DType::kInt8, {layer.out_channels, channels, window.kernel_h, window.kernel_w},
      weights.values));
  op.weight_bits = weights.bits;
  op.ternary = weights.ternary;
  op.groups = layer.groups;
  op.stride_h = window.stride_h;
  op.stride_w = window.stride_w;
  op.dilation_h = window.dilation_h;
  op.dilation_w = window.dilation_w;
  op.pad_top = window.pad_top;
  op.pad_left = window.pad_left;
  op.pad_bottom = window.pad_bottom;
  op.pad_right = window.pad_right;
  op.padding = input.padding;
  for (const float scale : weights.scale) {
    op.scale.push_back(static_cast<float>(static_cast<double>(scale) * input.info.scale));
  }
  op.bias.assign(op.scale.size(), 0.0F);
  op.chain = layer.after;
  Node lowered = node;
  lowered.inputs = {input.codes};
  lowered.outputs = {output};
  lowered.lowered = std::move(op);
  Keep(std::move(lowered));
}

bool QuantizedWalk::FinishQLinear(const Node& node, ValueId real) {
  const ValueId output = node.outputs[0];
  Node quantize;
  quantize.name = node.name;
  quantize.op = "QuantizeLinear";
  quantize.inputs = {real, InputOf(node, 6), InputOf(node, 7)};
  quantize.outputs = {output};
  Visit(std::move(quantize));
  return true;
}

}  // namespace bitmill
