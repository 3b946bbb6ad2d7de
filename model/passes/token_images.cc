#include "model/passes/token_images.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "model/passes/graph_edit.h"
#include "model/passes/token_walk.h"

namespace bitmill {
namespace {

// Operators that treat every element alike; parameters are attributes or uniform constants.
constexpr std::array<const char*, 18> kElementwise = {
    "Relu",  "Sigmoid", "Tanh",      "Erf",         "Gelu",     "Sqrt",
    "Exp",   "Log",     "Abs",       "Neg",         "Floor",    "Ceil",
    "Round", "Clip",    "LeakyRelu", "HardSigmoid", "HardTanh", "Reciprocal"};
constexpr std::array<const char*, 7> kQuantizers = {
    "Quant", "IntQuant", "BipolarQuant", "Trunc", "Sign", "QuantizeLinear", "DequantizeLinear"};
constexpr std::array<const char*, 8> kWithConstant = {"Add", "Sub", "Mul",   "Div",
                                                      "Pow", "Max", "PRelu", "Min"};
constexpr std::array<const char*, 4> kBinary = {"Add", "Sub", "Mul", "Div"};

template <size_t kCount>
bool IsOneOf(const Node& node, const std::array<const char*, kCount>& ops) {
  return std::any_of(ops.begin(), ops.end(), [&](const char* op) { return IsOp(node, op); });
}

// All inputs but the first are constants without variation (or absent).
bool ParametersAreUniform(const Graph& graph, const Node& node) {
  for (size_t i = 1; i < node.inputs.size(); ++i) {
    float value = 0.0F;
    if (node.inputs[i] == kNoValue) continue;
    const Tensor* constant = ConstantInput(graph, node, i);
    if (constant == nullptr || !UniformValue(*constant, &value)) return false;
  }
  return true;
}

bool IsDynamic(const Graph& graph, ValueId id) {
  return id != kNoValue && graph.value(id).constant == nullptr;
}

// The shape of a constant under a value of rank `rank`, missing axes in front filled in.
Shape Aligned(const Shape& shape, size_t rank) {
  Shape aligned(rank - std::min(rank, shape.size()), 1);
  aligned.insert(aligned.end(), shape.begin(), shape.end());
  return aligned;
}

std::vector<float> TransposedMatrix(const std::vector<float>& matrix, int64_t rows,
                                    int64_t columns) {
  std::vector<float> result(matrix.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      result[static_cast<size_t>(c * rows + r)] = matrix[static_cast<size_t>(r * columns + c)];
    }
  }
  return result;
}

// A MatMul of tokens and constant weights.
bool IsTokenProduct(const Graph& graph, const Node& node) {
  if (!IsOp(node, "MatMul") || node.inputs.size() != 2 || !IsDynamic(graph, node.inputs[0])) {
    return false;
  }
  const Tensor* const matrix = ConstantInput(graph, node, 1);
  const Shape& shape = graph.value(node.inputs[0]).shape;
  return matrix != nullptr && matrix->dtype() == DType::kFloat32 && matrix->shape().size() == 2 &&
         matrix->elements() > 0 && HasTokens(shape) && matrix->shape()[0] == shape.back();
}

// Values that such a product reads, as they are or through quantizers.
std::vector<bool> ReadByProducts(const Graph& graph, const std::vector<Node>& nodes) {
  std::vector<bool> read(graph.values.size(), false);
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    if (node->inputs.empty() || node->outputs.empty() || node->outputs[0] == kNoValue ||
        node->inputs[0] == kNoValue) {
      continue;
    }
    const bool passes_on =
        IsOneOf(*node, kQuantizers) && read[static_cast<size_t>(node->outputs[0])];
    if (passes_on || IsTokenProduct(graph, *node)) {
      read[static_cast<size_t>(node->inputs[0])] = true;
    }
  }
  return read;
}

}  // namespace

void TokensToImages(Graph& graph) { TokenWalk(graph).Run(); }

void TokenWalk::Run() {
  std::vector<Node> nodes = std::move(graph_.nodes);
  graph_.nodes.clear();
  for_product_ = ReadByProducts(graph_, nodes);
  made_.resize(graph_.values.size(), false);
  for (size_t v = 0; v < made_.size(); ++v) made_[v] = graph_.values[v].constant != nullptr;
  for (const GraphPort& port : graph_.inputs) made_[static_cast<size_t>(port.value)] = true;
  for (Node& node : nodes) {
    if (IsErased(node)) continue;
    if (!node.inputs.empty() && !node.outputs.empty() && IsDynamic(graph_, node.outputs[0]) &&
        (VisitMatMul(node) || VisitGemm(node) || VisitElementwise(node) || VisitQuantizer(node) ||
         VisitWithConstant(node) || VisitBinary(node) || VisitTranspose(node) ||
         VisitReshape(node) || VisitBatchNorm(node) || VisitMean(node))) {
      continue;
    }
    for (const ValueId id : node.inputs) {
      if (id != kNoValue) EnsurePlain(id);
    }
    Keep(std::move(node));
  }
  for (const GraphPort& port : graph_.outputs) EnsurePlain(port.value);
  graph_.nodes = std::move(done_);
}

void TokenWalk::EmitOnImage(const Node& node, size_t data, TokenForm form,
                            std::vector<ValueId> inputs) {
  const ValueId image = ImageOf(node.inputs[data], form);
  Node on_image = node;
  on_image.inputs = std::move(inputs);
  on_image.inputs[data] = image;
  const ValueId result = NewLike(node.outputs[0], "/image", graph_.value(image).shape);
  on_image.outputs = {result};
  SetImage(node.outputs[0], form, result);
  Keep(std::move(on_image));
}

void TokenWalk::EmitConv(const Node& node, ValueId input, const Tensor& matrix, bool rows_first,
                         ValueId bias) {
  const int64_t outputs = matrix.shape()[rows_first ? 0 : 1];
  const int64_t channels = matrix.shape()[rows_first ? 1 : 0];
  std::vector<float> weights = FloatsOf(matrix);
  if (!rows_first) weights = TransposedMatrix(weights, channels, outputs);
  const ValueId image = LastImage(input);
  Shape shape = graph_.value(image).shape;
  shape[1] = outputs;
  Node conv;
  conv.name = node.name;
  conv.op = "Conv";
  conv.inputs = {image, NewConstant(node.name + "/weights", {outputs, channels, 1, 1}, weights)};
  if (bias != kNoValue) conv.inputs.push_back(bias);
  const ValueId result = NewLike(node.outputs[0], "/image", shape);
  conv.outputs = {result};
  images(node.outputs[0]).last = result;
  Keep(std::move(conv));
}

bool TokenWalk::VisitMatMul(const Node& node) {
  if (!IsTokenProduct(graph_, node)) return false;
  EmitConv(node, node.inputs[0], *ConstantInput(graph_, node, 1), false, kNoValue);
  return true;
}

bool TokenWalk::VisitGemm(const Node& node) {
  if (!IsOp(node, "Gemm") || node.inputs.size() < 2 || !IsDynamic(graph_, node.inputs[0]) ||
      IntAttribute(node, "transA", 0) != 0 || FloatAttribute(node, "alpha", 1.0F) != 1.0F ||
      FloatAttribute(node, "beta", 1.0F) != 1.0F) {
    return false;
  }
  const Tensor* const matrix = ConstantInput(graph_, node, 1);
  const Shape& shape = graph_.value(node.inputs[0]).shape;
  const bool rows_first = IntAttribute(node, "transB", 0) != 0;
  if (matrix == nullptr || matrix->dtype() != DType::kFloat32 || matrix->elements() == 0 ||
      !HasTokens(shape)) {
    return false;
  }
  const int64_t outputs = matrix->shape()[rows_first ? 0 : 1];
  ValueId bias = kNoValue;
  if (InputOf(node, 2) != kNoValue) {
    const Tensor* const addend = ConstantInput(graph_, node, 2);
    if (addend == nullptr || addend->elements() != outputs || addend->shape().back() != outputs) {
      return false;
    }
    bias = NewConstant(node.name + "/bias", {outputs}, FloatsOf(*addend));
  }
  EmitConv(node, node.inputs[0], *matrix, rows_first, bias);
  return true;
}

bool TokenWalk::VisitElementwise(const Node& node) {
  if (!IsOneOf(node, kElementwise) || !IsDynamic(graph_, node.inputs[0])) return false;
  const TokenForm form = FormOf(node.inputs[0]);
  if (form == TokenForm::kNone || !ParametersAreUniform(graph_, node)) return false;
  EmitOnImage(node, 0, form, node.inputs);
  return true;
}

bool TokenWalk::VisitQuantizer(const Node& node) {
  const ValueId input = node.inputs[0];
  if (!IsOneOf(node, kQuantizers) || !IsDynamic(graph_, input) ||
      !ParametersAreUniform(graph_, node)) {
    return false;
  }
  TokenForm form = FormOf(input);
  const Shape& shape = graph_.value(input).shape;
  if (form == TokenForm::kNone) {
    // An image of its own as it is, or nothing that has channels.
    const bool image = shape.size() == 4 && shape[0] == 1;
    if (!HasTokens(shape) || (image && !for_product_[static_cast<size_t>(node.outputs[0])])) {
      return false;
    }
    form = TokenForm::kLast;
  }
  // One value for all, whatever shape it had beside the tokens.
  std::vector<ValueId> inputs = node.inputs;
  for (size_t i = 1; i < inputs.size(); ++i) {
    const Tensor* const constant = ConstantInput(graph_, node, i);
    if (constant == nullptr || constant->shape().empty()) continue;
    if (constant->dtype() != DType::kFloat32) {
      if (constant->elements() > 1) return false;
      continue;
    }
    inputs[i] = NewConstant(graph_.value(inputs[i]).name + "/scalar", {}, {FloatsOf(*constant)[0]});
  }
  EmitOnImage(node, 0, form, std::move(inputs));
  return true;
}

std::optional<ValueId> TokenWalk::OperandFor(const Tensor& constant, const Shape& data,
                                             TokenForm form) {
  const std::vector<float> values = FloatsOf(constant);
  if (values.empty() || constant.shape().size() > data.size()) return std::nullopt;
  if (values.size() == 1) return NewConstant("operand", {}, values);
  const Shape shape = Aligned(constant.shape(), data.size());
  if (form == TokenForm::kFirst) {
    if (data.size() == 4) return NewConstant("operand", {shape[1], shape[2], shape[3]}, values);
    return NewConstant("operand", {shape[1], 1, shape[2]}, values);
  }
  const bool grid = data.size() == 4 && data[0] == 1;
  const auto pixels = static_cast<int64_t>(values.size()) / shape.back();
  const bool all = std::equal(shape.begin(), shape.end() - 1, data.begin());
  if (!grid && pixels != 1 && !all) return std::nullopt;
  const Shape image = grid ? Shape{shape[3], shape[1], shape[2]} : Shape{shape.back(), 1, pixels};
  return NewConstant("operand", image, TransposedMatrix(values, pixels, shape.back()));
}

bool TokenWalk::VisitWithConstant(const Node& node) {
  if (!IsOneOf(node, kWithConstant) || node.inputs.size() != 2) return false;
  const size_t data = IsDynamic(graph_, node.inputs[0]) ? 0 : 1;
  const Tensor* const constant = ConstantInput(graph_, node, 1 - data);
  const ValueId input = node.inputs[data];
  if (constant == nullptr || constant->dtype() != DType::kFloat32 || !IsDynamic(graph_, input)) {
    return false;
  }
  const Shape shape = graph_.value(input).shape;
  if (graph_.value(node.outputs[0]).shape != shape) return false;
  TokenForm form = FormOf(input);
  if (form == TokenForm::kNone) {
    // A value a channel on the last axis makes an image worth while.
    const bool channels = constant->elements() > 1 && !constant->shape().empty() &&
                          constant->elements() == constant->shape().back();
    if (!channels || !HasTokens(shape)) return false;
    form = TokenForm::kLast;
  }
  const auto operand = OperandFor(*constant, shape, form);
  if (!operand) return false;
  std::vector<ValueId> inputs = node.inputs;
  inputs[1 - data] = *operand;
  EmitOnImage(node, data, form, std::move(inputs));
  return true;
}

bool TokenWalk::VisitBinary(const Node& node) {
  if (!IsOneOf(node, kBinary) || node.inputs.size() != 2) return false;
  const ValueId a = node.inputs[0];
  const ValueId b = node.inputs[1];
  if (!IsDynamic(graph_, a) || !IsDynamic(graph_, b) ||
      graph_.value(a).shape != graph_.value(b).shape || graph_.value(a).dtype != DType::kFloat32) {
    return false;
  }
  TokenForm form = FormOf(a);
  if (form != TokenForm::kLast && FormOf(b) != TokenForm::kNone) form = FormOf(b);
  if (form == TokenForm::kNone) return false;
  const ValueId other = ImageOf(b, form);
  EmitOnImage(node, 0, form, {a, other});
  return true;
}

bool TokenWalk::VisitTranspose(const Node& node) {
  if (!IsOp(node, "Transpose")) return false;
  const ValueId from = node.inputs[0];
  const ValueId to = node.outputs[0];
  const Shape& shape = graph_.value(from).shape;
  const std::vector<int64_t> perm = IntsAttribute(node, "perm");
  if (shape.empty() || shape[0] != 1 || ElementCount(shape) == 0 ||
      graph_.value(from).dtype != DType::kFloat32) {
    return false;
  }
  if (shape.size() == 3 && perm == std::vector<int64_t>{0, 2, 1}) {
    const Images known = images(from);
    if (known.last != kNoValue) {
      images(to).first = known.last;
    }
    if (known.first != kNoValue || known.last == kNoValue) images(to).last = FirstImage(from);
    return true;
  }
  if (shape.size() == 4 && perm == std::vector<int64_t>{0, 2, 3, 1}) {
    images(to).last = FirstImage(from);
    return true;
  }
  if (shape.size() == 4 && perm == std::vector<int64_t>{0, 3, 1, 2} &&
      images(from).last != kNoValue) {
    images(to).first = images(from).last;
    return true;
  }
  return false;
}

bool TokenWalk::VisitReshape(const Node& node) {
  if (!IsOp(node, "Reshape") && !IsOp(node, "Flatten") && !IsOp(node, "Squeeze") &&
      !IsOp(node, "Unsqueeze") && !IsOp(node, "Identity")) {
    return false;
  }
  const ValueId from = node.inputs[0];
  const ValueId to = node.outputs[0];
  const Shape before = graph_.value(from).shape;
  const Shape after = graph_.value(to).shape;
  if (!IsDynamic(graph_, from) || ElementCount(after) == 0) return false;
  const auto reshaped = [&](ValueId image, const Shape& shape) {
    if (graph_.value(image).shape == shape) return image;
    const ValueId result = NewLike(to, "/image", shape);
    EmitReshape(image, result);
    return result;
  };
  if (images(from).last != kNoValue && HasTokens(after) && before.back() == after.back()) {
    images(to).last = reshaped(images(from).last, LastImageShape(after));
    return true;
  }
  const bool image = images(from).first != kNoValue || (before.size() == 4 && IsMade(from));
  if (image && after.size() == 3 && after[0] == 1 && before[0] == 1 && before[1] == after[1] &&
      graph_.value(from).dtype == DType::kFloat32) {
    images(to).first = reshaped(FirstImage(from), {1, after[1], 1, after[2]});
    return true;
  }
  return false;
}

bool TokenWalk::VisitBatchNorm(const Node& node) {
  const Shape& shape = graph_.value(node.inputs[0]).shape;
  if (!IsOp(node, "BatchNormalization") || !node.domain.empty() || node.outputs.size() != 1 ||
      !IsDynamic(graph_, node.inputs[0]) || !HasTokens(shape)) {
    return false;
  }
  if (shape.size() == 2) {
    EmitOnImage(node, 0, TokenForm::kLast, node.inputs);
    return true;
  }
  if (shape.size() != 3 || shape[0] != 1) return false;
  EmitOnImage(node, 0, TokenForm::kFirst, node.inputs);
  return true;
}

bool TokenWalk::VisitMean(const Node& node) {
  const ValueId input = node.inputs[0];
  if (!IsOp(node, "ReduceMean") || graph_.value(input).shape.size() != 3 ||
      images(input).last == kNoValue) {
    return false;
  }
  std::vector<int64_t> axes = IntsAttribute(node, "axes");
  if (InputOf(node, 1) != kNoValue) {
    const Tensor* const list = ConstantInput(graph_, node, 1);
    if (list == nullptr || list->dtype() != DType::kInt64) return false;
    axes.assign(list->span<int64_t>().begin(), list->span<int64_t>().end());
  }
  if (axes.size() != 1 || (axes[0] != 1 && axes[0] != -2)) return false;
  const ValueId image = images(input).last;
  Node pool = node;
  pool.op = "GlobalAveragePool";
  pool.attributes.clear();
  pool.inputs = {image};
  const ValueId result =
      NewLike(node.outputs[0], "/image", {1, graph_.value(image).shape[1], 1, 1});
  pool.outputs = {result};
  Keep(std::move(pool));
  EmitReshape(result, node.outputs[0]);
  return true;
}

}  // namespace bitmill
