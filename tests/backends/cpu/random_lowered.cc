#include "tests/backends/cpu/random_lowered.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "absl/strings/str_cat.h"
#include "backends/cpu/node_order.h"

namespace bitmill {
namespace {

using Epilogue = LowBitConvOp::Epilogue;

class Draw {
 public:
  explicit Draw(std::mt19937& random) : random_(random) {}

  int64_t Between(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  bool OneIn(int n) { return Between(1, n) == 1; }
  float Normal(float spread) { return std::normal_distribution<float>(0.0F, spread)(random_); }
  std::vector<float> Normals(int64_t count, float spread) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = Normal(spread);
    return values;
  }

 private:
  std::mt19937& random_;
};

struct Geometry {
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int64_t in_h = 1, in_w = 1;

  int64_t out_h() const {
    return (in_h + pad_top + pad_bottom - (kernel_h - 1) * dilation_h - 1) / stride_h + 1;
  }
  int64_t out_w() const {
    return (in_w + pad_left + pad_right - (kernel_w - 1) * dilation_w - 1) / stride_w + 1;
  }
};

Geometry DrawGeometry(Draw& draw, bool small_pads) {
  Geometry g;
  g.kernel_h = draw.Between(1, 3);
  g.kernel_w = draw.Between(1, 5);
  g.stride_h = draw.OneIn(3) ? 2 : 1;
  g.stride_w = draw.OneIn(3) ? draw.Between(2, 3) : 1;
  g.dilation_h = draw.OneIn(4) ? 2 : 1;
  g.dilation_w = draw.OneIn(4) ? 2 : 1;
  g.in_h = draw.Between(1, 9);
  g.in_w = draw.Between(1, 17);
  if (draw.OneIn(4)) {  // a dense layer over the whole image
    g.in_h = g.kernel_h;
    g.in_w = g.kernel_w;
    g.dilation_h = g.dilation_w = 1;
    return g;
  }
  const auto pad = [&](int64_t kernel, int64_t dilation) {
    const int64_t most = (kernel - 1) * dilation;
    return draw.OneIn(2) ? 0 : draw.Between(0, small_pads ? std::min<int64_t>(1, most) : most);
  };
  g.pad_top = pad(g.kernel_h, g.dilation_h);
  g.pad_bottom = pad(g.kernel_h, g.dilation_h);
  g.pad_left = pad(g.kernel_w, g.dilation_w);
  g.pad_right = pad(g.kernel_w, g.dilation_w);
  g.in_h = std::max(g.in_h, (g.kernel_h - 1) * g.dilation_h + 1);
  g.in_w = std::max(g.in_w, (g.kernel_w - 1) * g.dilation_w + 1);
  return g;
}

Geometry DrawStridedGeometry(Draw& draw) {
  Geometry g;
  g.kernel_h = draw.Between(2, 7);
  g.kernel_w = draw.Between(2, 7);
  g.stride_h = draw.Between(1, 4);
  g.stride_w = draw.Between(2, 4);
  g.dilation_h = draw.OneIn(4) ? 2 : 1;
  g.pad_top = draw.Between(0, 1);
  g.pad_left = draw.Between(0, 1);
  g.in_h = (g.kernel_h - 1) * g.dilation_h + 1 + draw.Between(0, 20);
  g.in_w = g.kernel_w + draw.Between(0, 20);
  return g;
}

template <typename Op>
void SetGeometry(const Geometry& g, Op& op) {
  op.stride_h = g.stride_h;
  op.stride_w = g.stride_w;
  op.dilation_h = g.dilation_h;
  op.dilation_w = g.dilation_w;
  op.pad_top = g.pad_top;
  op.pad_left = g.pad_left;
  op.pad_bottom = g.pad_bottom;
  op.pad_right = g.pad_right;
}

CodeInfo DrawCode(Draw& draw, bool bits) {
  CodeInfo code;
  code.kind = bits ? CodeKind::kBits : CodeKind::kUInt8;
  code.scale = 0.25F * static_cast<float>(draw.Between(1, 8));
  constexpr int32_t kLevels[] = {2, 3, 4, 5, 16, 17, 255, 256};
  code.levels = bits ? 2 : kLevels[draw.Between(0, 7)];
  code.zero_point = bits ? 0 : static_cast<int32_t>(draw.Between(1, std::max(1, code.levels - 2)));
  return code;
}

ValueId AddFloat(Graph& graph, const char* name, const Shape& shape) {
  Value value;
  value.name = name;
  value.dtype = DType::kFloat32;
  value.shape = shape;
  return graph.AddValue(std::move(value));
}

ValueId AddNode(Graph& graph, LoweredOp op, ValueId input, const Shape& shape,
                const CodeInfo& code = {}) {
  const std::string name = absl::StrCat("v", graph.values.size());
  const ValueId output = AddFloat(graph, name.c_str(), shape);
  graph.value(output).code = code;
  Node node;
  node.name = absl::StrCat("n", graph.nodes.size());
  node.op = "Lowered";
  node.inputs = {input};
  node.outputs = {output};
  node.lowered = std::move(op);
  graph.nodes.push_back(std::move(node));
  return output;
}

QuantizeOp DrawQuantize(Draw& draw, const CodeInfo& code, int64_t channels) {
  QuantizeOp op;
  op.quantizer.code = code;
  const int64_t rows = draw.OneIn(2) ? 1 : channels;
  if (code.kind == CodeKind::kBits) {
    op.bit_thresholds = draw.Normals(rows, 1.0F);
    op.bit_invert.assign(static_cast<size_t>(rows), 0);
    for (uint8_t& invert : op.bit_invert) invert = draw.OneIn(3) ? 1 : 0;
    return op;
  }
  if (draw.OneIn(2)) {  // by the quantizer alone
    op.quantizer.offset = static_cast<float>(code.zero_point);
    op.quantizer.code.scale = 4.0F / static_cast<float>(code.levels);
    return op;
  }
  op.level_channels = rows;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<float> levels = draw.Normals(code.levels - 1, 2.0F);
    std::sort(levels.begin(), levels.end());
    op.level_thresholds.insert(op.level_thresholds.end(), levels.begin(), levels.end());
  }
  return op;
}

// Zeroes blocks of 16 or 64 outputs x 64 channels of a tap of w[outputs][channels][kh][kw], or some
// input channels. Half of the time the others lose their zeros.
void Prune(Draw& draw, const Shape& shape, absl::Span<int8_t> weights) {
  constexpr int64_t kRun = 64;
  const int64_t rows = draw.OneIn(2) ? 16 : 64;
  const int64_t percent = draw.Between(0, 100);
  const int64_t taps = shape[2] * shape[3];
  const bool full = draw.OneIn(2);
  for (int8_t& w : weights) {
    if (full && w == 0) w = 1;
  }
  if (draw.OneIn(3)) {
    for (int64_t c = 0; c < shape[1]; ++c) {
      if (draw.Between(0, 99) >= percent) continue;
      for (int64_t o = 0; o < shape[0]; ++o) {
        for (int64_t t = 0; t < taps; ++t) {
          weights[static_cast<size_t>((o * shape[1] + c) * taps + t)] = 0;
        }
      }
    }
    return;
  }
  for (int64_t o = 0; o < shape[0]; o += rows) {
    for (int64_t i = 0; i < (shape[1] + kRun - 1) / kRun * taps; ++i) {
      if (draw.Between(0, 99) >= percent) continue;
      const int64_t first = i / taps * kRun, end = std::min(first + kRun, shape[1]);
      for (int64_t row = o; row < std::min(o + rows, shape[0]); ++row) {
        for (int64_t c = first; c < end; ++c) {
          weights[static_cast<size_t>((row * shape[1] + c) * taps + i % taps)] = 0;
        }
      }
    }
  }
}

// Leaves two of the weights of four neighbouring input channels, if as many.
void PruneTwoOfFour(Draw& draw, const Shape& shape, absl::Span<int8_t> weights) {
  const int64_t taps = shape[2] * shape[3];
  for (int64_t o = 0; o < shape[0]; ++o) {
    for (int64_t first = 0; first < shape[1]; first += 4) {
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t kept = first + draw.Between(0, 3), other = first + draw.Between(0, 3);
        for (int64_t c = first; c < std::min(first + 4, shape[1]); ++c) {
          if (c == kept || c == other) continue;
          weights[static_cast<size_t>((o * shape[1] + c) * taps + t)] = 0;
        }
      }
    }
  }
}

SharedTensor DrawWeights(Draw& draw, const LoweredKind& kind, const Shape& shape) {
  auto weights = std::make_shared<Tensor>(*Tensor::Create(DType::kInt8, shape));
  const int64_t top = (int64_t{1} << (kind.weight_bits - 1)) - 1;
  for (int8_t& w : weights->span<int8_t>()) {
    if (kind.weight_bits == 1) {
      w = draw.OneIn(2) ? 1 : -1;
    } else {
      w = static_cast<int8_t>(draw.Between(kind.ternary ? -1 : -top - 1, top));
    }
  }
  if (kind.pruned) Prune(draw, shape, weights->span<int8_t>());
  if (kind.two_of_four) PruneTwoOfFour(draw, shape, weights->span<int8_t>());
  return weights;
}

Chain DrawChain(Draw& draw, int64_t channels) {
  Chain chain;
  for (int64_t i = draw.Between(0, 2); i > 0; --i) {
    ChainStep step;
    constexpr ChainOp kOps[] = {ChainOp::kAdd, ChainOp::kMul, ChainOp::kLeakyRelu};
    step.op = kOps[draw.Between(0, 2)];
    step.operand = draw.Normals(draw.OneIn(2) ? 1 : channels, 1.0F);
    chain.push_back(std::move(step));
    if (draw.OneIn(3)) chain.push_back({ChainOp::kRelu, {}, {}});
  }
  return chain;
}

void DrawEpilogue(Draw& draw, const LoweredKind& kind, const CodeInfo& code, int64_t outputs,
                  int64_t reach, LowBitConvOp& op) {
  op.epilogue = kind.epilogue;
  if (kind.epilogue == Epilogue::kThresholds) {
    for (int64_t o = 0; o < outputs; ++o) {
      std::vector<int32_t> row;
      for (int32_t i = 1; i < code.levels; ++i) {
        row.push_back(static_cast<int32_t>(draw.Between(-reach, reach)));
      }
      std::sort(row.begin(), row.end());
      if (draw.OneIn(16)) row.back() = std::numeric_limits<int32_t>::max();
      if (draw.OneIn(16)) row.front() = std::numeric_limits<int32_t>::min();
      op.thresholds.insert(op.thresholds.end(), row.begin(), row.end());
      op.flip.push_back(draw.OneIn(3) ? 1 : 0);
    }
    return;
  }
  op.scale = draw.Normals(outputs, 0.1F);
  op.bias = draw.Normals(outputs, 1.0F);
  op.chain = DrawChain(draw, outputs);
  op.quantizer.code = code;
  op.quantizer.offset = static_cast<float>(code.zero_point);
  constexpr Rounding kRoundings[] = {Rounding::kHalfEven, Rounding::kHalfEven, Rounding::kFloor,
                                     Rounding::kTowardZero};
  op.quantizer.rounding = kRoundings[draw.Between(0, 3)];
}

// A low-bit layer behind `input`, whose value is bits or codes of [1, channels, h, w].
ValueId AddConv(Draw& draw, Graph& graph, const LoweredKind& kind, ValueId input,
                const Geometry& g) {
  const int64_t channels = graph.value(input).shape[1];
  LowBitConvOp op;
  SetGeometry(g, op);
  op.weight_bits = kind.weight_bits;
  op.ternary = kind.ternary;
  int64_t outputs = draw.OneIn(2) ? draw.Between(1, 40) : draw.Between(1, 20) * 8;
  if (kind.depthwise) {
    op.groups = outputs = channels;
  } else if (kind.outputs > 0) {
    outputs = kind.outputs;
    if (kind.groups > 0) op.groups = kind.groups;
  } else if (!kind.dense && !kind.first_layer && draw.OneIn(3)) {
    std::vector<int64_t> divisors;
    for (int64_t d = 2; d <= channels; ++d) {
      if (channels % d == 0) divisors.push_back(d);
    }
    if (!divisors.empty()) {
      op.groups =
          divisors[static_cast<size_t>(draw.Between(0, static_cast<int64_t>(divisors.size()) - 1))];
      outputs = op.groups * draw.Between(1, draw.OneIn(2) ? 8 : 2);
    }
  }
  op.padding = static_cast<Padding>(draw.Between(0, 2));
  const Shape kernel = {outputs, channels / op.groups, g.kernel_h, g.kernel_w};
  op.weights = DrawWeights(draw, kind, kernel);
  CodeInfo code;
  if (kind.epilogue != Epilogue::kFloat) {
    code = DrawCode(draw, kind.epilogue == Epilogue::kThresholds && kind.bits_out);
  }
  const int64_t most = int64_t{1} << (kind.weight_bits - 1);
  const int64_t reach = 1 + most * kernel[1] * g.kernel_h * g.kernel_w / 2;
  DrawEpilogue(draw, kind, code, outputs, reach, op);
  Shape shape = {1, outputs, g.out_h(), g.out_w()};
  if (kind.dense) shape = {1, outputs};
  return AddNode(graph, std::move(op), input, shape, code);
}

Graph StartGraph(const Shape& shape) {
  Graph graph;
  graph.name = "random";
  graph.batchable = true;
  const ValueId input = AddFloat(graph, "x", shape);
  graph.inputs.push_back({input, "x", DType::kFloat32, {}});
  return graph;
}

void FinishGraph(Graph& graph, ValueId output) {
  const Value& value = graph.value(output);
  if (value.code.kind != CodeKind::kNone) {
    const Shape shape = value.shape;
    output = AddNode(graph, DequantizeOp{}, output, shape);
  }
  graph.outputs.push_back({output, "y", DType::kFloat32, {}});
}

}  // namespace

LoweredKind LargeDense(LoweredKind kind) {
  kind.dense = true;
  kind.outputs = 192;
  kind.channels = 32768 / kind.weight_bits + 5;
  return kind;
}

Graph RandomLowered(const LoweredKind& kind, std::mt19937& random) {
  Draw draw(random);
  const int64_t channels = kind.channels > 0 ? kind.channels : draw.Between(1, 130);
  // A border of codes needs a code for -1 and +1; pads beyond 1 are as good as any.
  const Geometry g = kind.dense         ? Geometry{}
                     : kind.first_layer ? DrawStridedGeometry(draw)
                                        : DrawGeometry(draw, !kind.bits_in);
  Shape shape = {1, channels, g.in_h, g.in_w};
  if (kind.dense) shape = {1, channels};
  Graph graph = StartGraph(shape);
  CodeInfo code = DrawCode(draw, kind.bits_in);
  const ValueId quantized =
      AddNode(graph, DrawQuantize(draw, code, channels), graph.inputs[0].value, shape, code);
  ValueId output = AddConv(draw, graph, kind, quantized, g);

  // Half of the time another layer reads what the first one wrote, and a sibling reads its input.
  const bool coded = graph.value(output).code.kind != CodeKind::kNone;
  if (coded && draw.OneIn(2)) {
    LoweredKind next = kind;
    next.bits_in = graph.value(output).code.kind == CodeKind::kBits;
    next.epilogue = Epilogue::kFloat;
    Geometry after;
    if (!kind.dense) {
      after.in_h = g.out_h();
      after.in_w = g.out_w();
      after.kernel_h = std::min<int64_t>(3, after.in_h);
      after.kernel_w = std::min<int64_t>(2, after.in_w);
      after.pad_top = after.pad_left = draw.Between(0, 1) * (after.kernel_h - 1) / 2;
    }
    output = AddConv(draw, graph, next, output, after);
  }
  if (draw.OneIn(4)) {
    LoweredKind sibling = kind;
    sibling.epilogue = Epilogue::kFloat;
    const ValueId other = AddConv(draw, graph, sibling, quantized, g);
    graph.outputs.push_back({other, "sibling", DType::kFloat32, {}});
  }
  FinishGraph(graph, output);
  return graph;
}

Graph RandomPooling(bool bits, std::mt19937& random) {
  Draw draw(random);
  const int64_t channels = draw.Between(1, 130);
  Geometry g = DrawGeometry(draw, true);
  const Shape shape = {1, channels, g.in_h, g.in_w};
  Graph graph = StartGraph(shape);
  const CodeInfo code = DrawCode(draw, bits);
  ValueId value =
      AddNode(graph, DrawQuantize(draw, code, channels), graph.inputs[0].value, shape, code);
  LowBitMaxPoolOp pool;
  SetGeometry(g, pool);
  pool.kernel_h = g.kernel_h;
  pool.kernel_w = g.kernel_w;
  if (draw.OneIn(2)) {
    for (int64_t c = 0; c < channels; ++c) pool.minimum.push_back(draw.OneIn(3) ? 1 : 0);
  }
  value = AddNode(graph, std::move(pool), value, {1, channels, g.out_h(), g.out_w()}, code);
  if (draw.OneIn(2)) {  // a padded layer behind it: the pool writes into a bordered buffer
    Geometry after;
    after.in_h = g.out_h();
    after.in_w = g.out_w();
    after.kernel_h = std::min<int64_t>(3, after.in_h + 1);
    after.pad_top = after.pad_bottom = after.kernel_h > 1 ? 1 : 0;
    value = AddConv(draw, graph, {.bits_in = bits}, value, after);
  }
  FinishGraph(graph, value);
  return graph;
}

Graph RandomFloat(bool dense, std::mt19937& random) {
  Draw draw(random);
  const int64_t channels = draw.Between(1, 40);
  const int64_t outputs = draw.Between(1, 40);
  const Geometry g = dense ? Geometry{} : DrawGeometry(draw, false);
  Shape shape = {1, channels, g.in_h, g.in_w};
  Shape result = {1, outputs, g.out_h(), g.out_w()};
  if (dense) {
    shape = {1, channels};
    result = {1, outputs};
  }
  Graph graph = StartGraph(shape);
  ValueId value = graph.inputs[0].value;
  if (draw.OneIn(2)) value = AddNode(graph, ElementwiseOp{DrawChain(draw, channels)}, value, shape);
  const auto weights = [&](const Shape& dims) {
    auto tensor = std::make_shared<Tensor>(*Tensor::Create(DType::kFloat32, dims));
    for (float& w : tensor->span<float>()) w = draw.Normal(0.2F);
    return tensor;
  };
  const std::vector<float> bias =
      draw.OneIn(2) ? draw.Normals(outputs, 1.0F) : std::vector<float>{};
  if (dense) {
    FloatDenseOp op{weights({outputs, channels}), bias, DrawChain(draw, outputs)};
    value = AddNode(graph, std::move(op), value, result);
  } else {
    FloatConvOp op;
    SetGeometry(g, op);
    op.weights = weights({outputs, channels, g.kernel_h, g.kernel_w});
    op.bias = bias;
    op.chain = DrawChain(draw, outputs);
    value = AddNode(graph, std::move(op), value, result);
  }
  if (draw.OneIn(2)) value = AddNode(graph, ElementwiseOp{DrawChain(draw, outputs)}, value, result);
  if (!dense && draw.OneIn(2)) {
    FloatConvOp op;
    op.weights = weights({3, outputs, 1, 1});
    value = AddNode(graph, std::move(op), value, {1, 3, g.out_h(), g.out_w()});
  }
  FinishGraph(graph, value);
  return graph;
}

namespace {

ValueId AddOnnx(Graph& graph, const char* op, const std::vector<ValueId>& inputs,
                const Shape& shape) {
  const ValueId output = AddNode(graph, {}, inputs[0], shape);
  graph.nodes.back().op = op;
  graph.nodes.back().inputs = inputs;
  return output;
}

// A 1-bit or ternary convolution of `bits` to a float map.
ValueId AddMapConv(Draw& draw, Graph& graph, ValueId bits, int64_t outputs, const Geometry& g) {
  LowBitConvOp op;
  SetGeometry(g, op);
  LoweredKind kind;
  kind.ternary = draw.OneIn(3);
  kind.weight_bits = op.weight_bits = kind.ternary ? 2 : 1;
  op.ternary = kind.ternary;
  op.padding = static_cast<Padding>(draw.Between(0, 2));
  op.weights =
      DrawWeights(draw, kind, {outputs, graph.value(bits).shape[1], g.kernel_h, g.kernel_w});
  DrawEpilogue(draw, kind, {}, outputs, 1, op);
  return AddNode(graph, std::move(op), bits, {1, outputs, g.out_h(), g.out_w()});
}

// A window of the geometry's kernel, stride and padding over `map`.
ValueId AddPool(Draw& draw, Graph& graph, ValueId map, const Geometry& g) {
  const bool maximum = draw.OneIn(2);
  const Shape shape = {1, graph.value(map).shape[1], g.out_h(), g.out_w()};
  const ValueId pooled = AddOnnx(graph, maximum ? "MaxPool" : "AveragePool", {map}, shape);
  auto& attributes = graph.nodes.back().attributes;
  attributes["kernel_shape"] = std::vector<int64_t>{g.kernel_h, g.kernel_w};
  attributes["strides"] = std::vector<int64_t>{g.stride_h, g.stride_w};
  attributes["pads"] = std::vector<int64_t>{g.pad_top, g.pad_left, g.pad_bottom, g.pad_right};
  if (!maximum) attributes["count_include_pad"] = draw.Between(0, 1);
  return pooled;
}

}  // namespace

Graph RandomResidual(std::mt19937& random) {
  Draw draw(random);
  const int64_t channels = draw.OneIn(2) ? draw.Between(1, 70) : draw.Between(1, 10) * 8;
  Geometry g;
  g.in_h = draw.Between(2, 20);
  g.in_w = draw.Between(2, 20);
  Graph graph = StartGraph({1, channels, g.in_h, g.in_w});
  graph.opset = 13;
  const CodeInfo bits = DrawCode(draw, true);
  const auto sign = [&](ValueId map) {
    const Shape shape = graph.value(map).shape;
    return AddNode(graph, DrawQuantize(draw, bits, channels), map, shape, bits);
  };
  // Now and then the map is pooled, and nobody else reads it.
  const auto maybe_pool = [&](ValueId map) {
    if (!draw.OneIn(3)) return map;
    g.kernel_h = g.kernel_w = draw.Between(2, 3);
    g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = 1;
    g.stride_h = g.stride_w = draw.Between(1, 2);
    const ValueId pooled = AddPool(draw, graph, map, g);
    g.in_h = g.out_h();
    g.in_w = g.out_w();
    return pooled;
  };
  ValueId map = maybe_pool(AddMapConv(draw, graph, sign(graph.inputs[0].value), channels, g));
  for (int64_t blocks = draw.Between(1, 4); blocks > 0; --blocks) {
    g.kernel_h = g.kernel_w = draw.OneIn(4) ? 1 : 3;
    g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = g.kernel_h / 2;
    g.stride_h = g.stride_w = draw.OneIn(3) ? 2 : 1;
    const ValueId conv = AddMapConv(draw, graph, sign(map), channels, g);
    const ValueId shortcut = g.stride_h > 1 || draw.OneIn(5) ? AddPool(draw, graph, map, g) : map;
    const Shape shape = graph.value(conv).shape;
    constexpr const char* kOps[] = {"Add", "Add", "Add", "Sub", "Mul"};
    const auto* const op = kOps[draw.Between(0, 4)];
    if (draw.OneIn(8)) graph.outputs.push_back({conv, "conv", DType::kFloat32, {}});
    if (draw.OneIn(8)) graph.outputs.push_back({sign(conv), "bits", DType::kFloat32, {}});
    map = draw.OneIn(2) ? AddOnnx(graph, op, {conv, shortcut}, shape)
                        : AddOnnx(graph, op, {shortcut, conv}, shape);
    if (draw.OneIn(3)) map = AddNode(graph, ElementwiseOp{DrawChain(draw, channels)}, map, shape);
    if (draw.OneIn(4)) {  // joined with a narrower map, then brought back to its width
      Geometry same;
      same.in_h = shape[2];
      same.in_w = shape[3];
      const ValueId narrow = AddMapConv(draw, graph, sign(map), draw.Between(1, 20), same);
      const int64_t joined = channels + graph.value(narrow).shape[1];
      const ValueId both = AddOnnx(graph, "Concat", {map, narrow}, {1, joined, shape[2], shape[3]});
      graph.nodes.back().attributes["axis"] = int64_t{1};
      const ValueId packed =
          AddNode(graph, DrawQuantize(draw, bits, joined), both, graph.value(both).shape, bits);
      map = AddMapConv(draw, graph, packed, channels, same);
    }
    g.in_h = shape[2];
    g.in_w = shape[3];
    map = maybe_pool(map);
  }
  for (GraphPort& port : graph.outputs) {
    if (graph.value(port.value).code.kind == CodeKind::kNone) continue;
    const Shape shape = graph.value(port.value).shape;
    port.value = AddNode(graph, DequantizeOp{}, port.value, shape);
  }
  if (draw.OneIn(3)) {
    map = AddOnnx(graph, draw.OneIn(2) ? "GlobalAveragePool" : "GlobalMaxPool", {map},
                  {1, channels, 1, 1});
  } else if (draw.OneIn(2)) {
    map = sign(map);
  }
  FinishGraph(graph, map);
  if (draw.OneIn(2)) ComputeBeforeSums(graph);
  return graph;
}

Graph RandomJoined(std::mt19937& random) {
  Draw draw(random);
  const int64_t channels = draw.Between(1, 70);
  Geometry g;
  g.in_h = draw.Between(1, 12);
  g.in_w = draw.Between(1, 12);
  Graph graph = StartGraph({1, channels, g.in_h, g.in_w});
  graph.opset = 13;
  const CodeInfo bits = DrawCode(draw, true);
  const auto sign = [&](ValueId map) {
    const Shape shape = graph.value(map).shape;
    return AddNode(graph, DrawQuantize(draw, bits, shape[1]), map, shape, bits);
  };
  g.kernel_h = g.kernel_w = 3;
  g.pad_top = g.pad_left = g.pad_bottom = g.pad_right = 1;
  ValueId map = AddMapConv(draw, graph, sign(graph.inputs[0].value), channels, g);
  std::vector<ValueId> waiting;  // maps that are compared once more, later
  for (int64_t blocks = draw.Between(2, 5); blocks > 0; --blocks) {
    const ValueId grown = AddMapConv(draw, graph, sign(map), draw.Between(1, 40), g);
    std::vector<ValueId> parts = {map, grown};
    if (draw.OneIn(6)) std::swap(parts[0], parts[1]);
    if (draw.OneIn(6)) parts.push_back(map);
    Shape shape = graph.value(map).shape;
    shape[1] = 0;
    for (const ValueId part : parts) shape[1] += graph.value(part).shape[1];
    if (draw.OneIn(6)) graph.outputs.push_back({map, "map", DType::kFloat32, {}});
    if (draw.OneIn(3)) waiting.push_back(map);
    map = AddOnnx(graph, "Concat", parts, shape);
    graph.nodes.back().attributes["axis"] = int64_t{1};
  }
  if (draw.OneIn(2)) {
    const Shape shape = graph.value(map).shape;
    map = AddNode(graph, ElementwiseOp{DrawChain(draw, shape[1])}, map, shape);
  }
  if (draw.OneIn(2)) map = AddPool(draw, graph, map, g);
  for (const ValueId id : waiting) {
    const Shape shape = graph.value(id).shape;
    const ValueId signs = sign(id);
    const ValueId real = AddNode(graph, DequantizeOp{}, signs, shape);
    graph.outputs.push_back({real, "later", DType::kFloat32, {}});
  }
  FinishGraph(graph, draw.OneIn(2) ? sign(map) : map);
  return graph;
}

void FillIn(Graph& graph) {
  for (Node& node : graph.nodes) {
    if (auto* op = std::get_if<QuantizeOp>(&node.lowered)) {
      op->bit_invert.resize(op->bit_thresholds.size());
    } else if (auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
      if (conv->epilogue == LowBitConvOp::Epilogue::kThresholds && conv->flip.empty()) {
        conv->flip.resize(static_cast<size_t>(conv->weights->shape()[0]));
      }
    }
  }
}

}  // namespace bitmill
