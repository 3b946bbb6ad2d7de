#include "model/passes/linear.h"

#include <algorithm>
#include <utility>

#include "base/checked_math.h"
#include "model/passes/graph_edit.h"

namespace bitmill {
namespace {

// Attribute lists of a 2-D window: absent means ones (or zeros for pads).
int64_t At(const std::vector<int64_t>& list, size_t index, int64_t fallback) {
  return index < list.size() ? list[index] : fallback;
}

// Padding of one axis under auto_pad SAME: the output has ceil(size / stride) elements.
void SamePads(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, bool upper,
              int64_t* begin, int64_t* end) {
  const int64_t outputs = (size + stride - 1) / stride;
  const int64_t total =
      std::max<int64_t>(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size);
  *begin = upper ? total / 2 : total - total / 2;
  *end = total - *begin;
}

Window WindowOf(const Node& node, const Shape& image, int64_t kernel_h, int64_t kernel_w) {
  const std::vector<int64_t> strides = IntsAttribute(node, "strides");
  const std::vector<int64_t> dilations = IntsAttribute(node, "dilations");
  const std::vector<int64_t> pads = IntsAttribute(node, "pads");
  Window window;
  window.kernel_h = kernel_h;
  window.kernel_w = kernel_w;
  window.stride_h = At(strides, 0, 1);
  window.stride_w = At(strides, 1, 1);
  window.dilation_h = At(dilations, 0, 1);
  window.dilation_w = At(dilations, 1, 1);
  const std::string auto_pad = StringAttribute(node, "auto_pad", "NOTSET");
  if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
    const bool upper = auto_pad == "SAME_UPPER";
    SamePads(image[2], kernel_h, window.stride_h, window.dilation_h, upper, &window.pad_top,
             &window.pad_bottom);
    SamePads(image[3], kernel_w, window.stride_w, window.dilation_w, upper, &window.pad_left,
             &window.pad_right);
  } else if (auto_pad == "NOTSET") {
    window.pad_top = At(pads, 0, 0);
    window.pad_left = At(pads, 1, 0);
    window.pad_bottom = At(pads, 2, 0);
    window.pad_right = At(pads, 3, 0);
  }
  return window;
}

// One value a row (an output channel) or one for all; nothing when absent lists do not fit.
std::optional<std::vector<float>> PerRow(const Tensor* tensor, int64_t rows, float absent) {
  if (tensor == nullptr) return std::vector<float>(static_cast<size_t>(rows), absent);
  std::vector<float> values = FloatsOf(*tensor);
  if (values.size() == 1) values.resize(static_cast<size_t>(rows), values[0]);
  if (static_cast<int64_t>(values.size()) != rows) return std::nullopt;
  return values;
}

// weights = (weights - zero_point[row]) * scale[row]; exact but for the last product.
bool MakeReal(LinearLayer& layer, const Tensor* scale, const Tensor* zero_point) {
  const auto scales = PerRow(scale, layer.out_channels, 1.0F);
  const auto zero_points = PerRow(zero_point, layer.out_channels, 0.0F);
  if (!scales || !zero_points) return false;
  const size_t length = layer.weights.size() / static_cast<size_t>(layer.out_channels);
  for (size_t i = 0; i < layer.weights.size(); ++i) {
    layer.weights[i] = (layer.weights[i] - (*zero_points)[i / length]) * (*scales)[i / length];
  }
  return true;
}

std::optional<LinearLayer> ConvLayer(const Graph& graph, const Node& node, size_t weight_input) {
  const ValueId input = InputOf(node, 0);
  const Tensor* weights = ConstantInput(graph, node, weight_input);
  if (input == kNoValue || weights == nullptr || weights->shape().size() != 4) return std::nullopt;
  const Shape& image = graph.value(input).shape;
  if (image.size() != 4 || image[0] != 1) return std::nullopt;
  LinearLayer layer;
  layer.input = input;
  layer.out_channels = weights->shape()[0];
  layer.in_channels = weights->shape()[1];
  layer.groups = IntAttribute(node, "group", 1);
  if (layer.groups < 1 || layer.in_channels < 1 || layer.out_channels < 1 ||
      layer.out_channels % layer.groups != 0 ||
      CheckedMul(layer.in_channels, layer.groups) != image[1]) {
    return std::nullopt;
  }
  layer.window = WindowOf(node, image, weights->shape()[2], weights->shape()[3]);
  layer.weights = FloatsOf(*weights);
  if (layer.weights.empty()) return std::nullopt;
  return layer;
}

// `rows_first`: the matrix is [O,K] (a transposed B), otherwise [K,O].
std::optional<LinearLayer> DenseLayer(const Graph& graph, const Node& node, size_t weight_input,
                                      bool rows_first) {
  const ValueId input = InputOf(node, 0);
  const Tensor* matrix = ConstantInput(graph, node, weight_input);
  if (input == kNoValue || matrix == nullptr || matrix->shape().size() != 2) return std::nullopt;
  const Shape& shape = graph.value(input).shape;
  if (shape.size() != 2 || shape[0] != 1) return std::nullopt;
  LinearLayer layer;
  layer.input = input;
  layer.dense = true;
  layer.out_channels = matrix->shape()[rows_first ? 0 : 1];
  layer.in_channels = matrix->shape()[rows_first ? 1 : 0];
  if (layer.in_channels != shape[1] || layer.in_channels < 1 || layer.out_channels < 1) {
    return std::nullopt;
  }
  layer.weights = FloatsOf(*matrix);
  if (layer.weights.empty()) return std::nullopt;
  if (!rows_first) {
    const auto rows = static_cast<size_t>(layer.out_channels);
    const auto columns = static_cast<size_t>(layer.in_channels);
    std::vector<float> transposed(layer.weights.size());
    for (size_t k = 0; k < columns; ++k) {
      for (size_t o = 0; o < rows; ++o) transposed[o * columns + k] = layer.weights[k * rows + o];
    }
    layer.weights = std::move(transposed);
  }
  return layer;
}

std::optional<LinearLayer> GemmLayer(const Graph& graph, const Node& node) {
  if (IntAttribute(node, "transA", 0) != 0) return std::nullopt;
  auto layer = DenseLayer(graph, node, 1, IntAttribute(node, "transB", 0) != 0);
  if (!layer) return std::nullopt;
  const float alpha = FloatAttribute(node, "alpha", 1.0F);
  const float beta = FloatAttribute(node, "beta", 1.0F);
  if (alpha != 1.0F) layer->after.push_back({ChainOp::kMul, {alpha}, {}});
  if (InputOf(node, 2) != kNoValue) {
    const Tensor* addend = ConstantInput(graph, node, 2);
    if (addend == nullptr) return std::nullopt;
    auto bias = PerRow(addend, layer->out_channels, 0.0F);
    if (!bias) return std::nullopt;
    for (float& b : *bias) b *= beta;
    layer->after.push_back({ChainOp::kAdd, *std::move(bias), {}});
  }
  return layer;
}

// QLinearConv: x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, bias;
// the bias counts in units of x_scale * w_scale.
std::optional<LinearLayer> QLinearConvLayer(const Graph& graph, const Node& node) {
  auto layer = ConvLayer(graph, node, 3);
  const Tensor* x_scale = ConstantInput(graph, node, 1);
  const Tensor* w_scale = ConstantInput(graph, node, 4);
  if (!layer || x_scale == nullptr || w_scale == nullptr ||
      !MakeReal(*layer, w_scale, ConstantInput(graph, node, 5))) {
    return std::nullopt;
  }
  if (InputOf(node, 8) != kNoValue) {
    const Tensor* addend = ConstantInput(graph, node, 8);
    if (addend == nullptr) return std::nullopt;
    auto bias = PerRow(addend, layer->out_channels, 0.0F);
    const auto scales = PerRow(w_scale, layer->out_channels, 1.0F);
    float x = 1.0F;
    if (!bias || !scales || !UniformValue(*x_scale, &x)) return std::nullopt;
    for (size_t o = 0; o < bias->size(); ++o) (*bias)[o] *= x * (*scales)[o];
    layer->after.push_back({ChainOp::kAdd, *std::move(bias), {}});
  }
  return layer;
}

}  // namespace

std::optional<LinearLayer> LinearLayerOf(const Graph& graph, const Node& node) {
  std::optional<LinearLayer> layer;
  if (IsOp(node, "Conv")) {
    layer = ConvLayer(graph, node, 1);
    if (layer && InputOf(node, 2) != kNoValue) {
      const Tensor* addend = ConstantInput(graph, node, 2);
      if (addend == nullptr || addend->elements() != layer->out_channels) return std::nullopt;
      layer->after.push_back({ChainOp::kAdd, FloatsOf(*addend), {}});
    }
  } else if (IsOp(node, "MatMul")) {
    layer = DenseLayer(graph, node, 1, false);
  } else if (IsOp(node, "Gemm")) {
    layer = GemmLayer(graph, node);
  } else if (IsOp(node, "QLinearConv")) {
    layer = QLinearConvLayer(graph, node);
  } else if (IsOp(node, "QLinearMatMul")) {
    layer = DenseLayer(graph, node, 3, false);
    if (layer && !MakeReal(*layer, ConstantInput(graph, node, 4), ConstantInput(graph, node, 5))) {
      return std::nullopt;
    }
  } else if (IsOp(node, "ConvInteger") || IsOp(node, "MatMulInteger")) {
    layer =
        IsOp(node, "ConvInteger") ? ConvLayer(graph, node, 1) : DenseLayer(graph, node, 1, false);
    const bool known = InputOf(node, 3) == kNoValue || ConstantInput(graph, node, 3) != nullptr;
    if (layer && (!known || !MakeReal(*layer, nullptr, ConstantInput(graph, node, 3)))) {
      return std::nullopt;
    }
  }
  return layer;
}

std::optional<Window> MaxPoolWindowOf(const Graph& graph, const Node& node) {
  const ValueId input = InputOf(node, 0);
  if (!IsOp(node, "MaxPool") || input == kNoValue || node.outputs.empty()) return std::nullopt;
  const Shape& image = graph.value(input).shape;
  const std::vector<int64_t> kernel = IntsAttribute(node, "kernel_shape");
  const bool indices = node.outputs.size() > 1 && node.outputs[1] != kNoValue;
  if (image.size() != 4 || image[0] != 1 || kernel.size() != 2 || indices) return std::nullopt;
  return WindowOf(node, image, kernel[0], kernel[1]);
}

std::optional<SpatialPad> SpatialPadOf(const Graph& graph, const Node& node) {
  const ValueId input = InputOf(node, 0);
  if (!IsOp(node, "Pad") || input == kNoValue ||
      StringAttribute(node, "mode", "constant") != "constant" ||
      graph.value(input).shape.size() != 4 || InputOf(node, 3) != kNoValue) {
    return std::nullopt;
  }
  SpatialPad pad;
  pad.input = input;
  pad.value = FloatAttribute(node, "value", 0.0F);
  std::vector<int64_t> pads = IntsAttribute(node, "pads");
  if (InputOf(node, 1) != kNoValue) {
    const Tensor* list = ConstantInput(graph, node, 1);
    if (list == nullptr || list->dtype() != DType::kInt64) return std::nullopt;
    pads.assign(list->span<int64_t>().begin(), list->span<int64_t>().end());
  }
  if (InputOf(node, 2) != kNoValue) {
    const Tensor* value = ConstantInput(graph, node, 2);
    if (value == nullptr || !UniformValue(*value, &pad.value)) return std::nullopt;
  }
  if (pads.size() != 8 || pads[0] != 0 || pads[1] != 0 || pads[4] != 0 || pads[5] != 0 ||
      std::any_of(pads.begin(), pads.end(), [](int64_t p) { return p < 0; })) {
    return std::nullopt;
  }
  pad.top = pads[2];
  pad.left = pads[3];
  pad.bottom = pads[6];
  pad.right = pads[7];
  return pad;
}

}  // namespace bitmill
