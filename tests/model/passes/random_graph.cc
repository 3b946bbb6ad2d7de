#include "tests/model/passes/random_graph.h"

#include <algorithm>
#include <cmath>

#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

class Generator {
 public:
  Generator(uint32_t seed, const RandomGraphOptions& options) : random_(seed), options_(options) {}

  Graph Make() {
    shape_ = {1, Channels(), Int(1, 9), Int(1, 9)};
    value_ = builder_.Input("x", shape_);
    if (Chance(30)) Chain();
    if (Chance(90)) Quantizer();
    const int64_t layers = Int(1, options_.max_layers);
    for (int64_t i = 0; i < layers; ++i) {
      const bool last = i + 1 == layers;
      if (shape_.size() == 4 && Chance(70)) {
        Convolution();
      } else {
        Dense();
      }
      if (Chance(25)) Pool();
      Chain();
      if (Chance(25)) Pool();
      if (!last || options_.quantized_output || Chance(50)) Quantizer();
      if (Chance(20)) Pool();
    }
    return builder_.Build({value_});
  }

 private:
  int64_t Int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random_);
  }
  float Real(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(random_);
  }
  bool Chance(int percent) { return Int(1, 100) <= percent; }
  int64_t Channels() { return Chance(70) ? Int(1, 12) : Int(1, 130); }
  float Scale() {
    return options_.exact_scales ? std::ldexp(1.0F, static_cast<int>(Int(-3, 1)))
                                 : Real(0.1F, 2.0F);
  }
  std::vector<float> Reals(int64_t count, float low, float high) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = Real(low, high);
    return values;
  }
  // A constant that broadcasts along axis 1, or one value.
  ValueId PerChannel(float low, float high) {
    if (Chance(30)) return builder_.Scalar(Real(low, high));
    const Shape shape = shape_.size() == 4 ? Shape{1, shape_[1], 1, 1} : Shape{1, shape_[1]};
    return builder_.Constant(shape, Reals(shape_[1], low, high));
  }

  // Integers of a random width, times a scale a row.
  std::vector<float> Weights(int64_t rows, int64_t columns) {
    const int64_t kind = Int(0, 5);
    std::vector<float> weights;
    const bool one_scale = Chance(50);
    float scale = Scale();
    for (int64_t r = 0; r < rows; ++r) {
      if (!one_scale) scale = Scale() * (Chance(30) ? -1.0F : 1.0F);
      for (int64_t c = 0; c < columns; ++c) {
        int64_t integer = 0;
        if (kind <= 1) integer = Chance(50) ? 1 : -1;
        if (kind == 2) integer = Int(-1, 1);
        if (kind == 3) integer = Int(-2, 1);
        if (kind == 4) integer = Int(-8, 7);
        if (kind == 5) integer = Int(-128, 127);
        weights.push_back(static_cast<float>(integer) * scale);
      }
    }
    return weights;
  }

  void Convolution() {
    const int64_t groups = Chance(70) ? 1 : (shape_[1] % 2 == 0 ? 2 : shape_[1]);
    const int64_t outputs = groups * std::max<int64_t>(1, Channels() / groups);
    const int64_t kernel_h = Int(1, std::min<int64_t>(3, shape_[2]));
    const int64_t kernel_w = Int(1, std::min<int64_t>(3, shape_[3]));
    const int64_t dilation_h = (kernel_h - 1) * 2 < shape_[2] && Chance(30) ? 2 : 1;
    const int64_t dilation_w = (kernel_w - 1) * 2 < shape_[3] && Chance(30) ? 2 : 1;
    std::vector<int64_t> pads(4, 0);
    if (Chance(50)) {
      for (int64_t& p : pads) p = Int(0, 1);
    }
    if (Chance(25)) Pad();
    const std::vector<int64_t> strides{Int(1, 2), Int(1, 2)};
    const Shape kernel{outputs, shape_[1] / groups, kernel_h, kernel_w};
    std::vector<ValueId> inputs{
        value_, builder_.Constant(kernel, Weights(outputs, ElementCount(kernel) / outputs))};
    if (Chance(30)) inputs.push_back(builder_.Constant({outputs}, Reals(outputs, -4.0F, 4.0F)));
    value_ = builder_.Op("Conv", inputs,
                         {{"group", groups},
                          {"kernel_shape", std::vector<int64_t>{kernel_h, kernel_w}},
                          {"strides", strides},
                          {"dilations", std::vector<int64_t>{dilation_h, dilation_w}},
                          {"pads", pads}});
    const auto outputs_of = [](int64_t size, int64_t begin, int64_t end, int64_t k, int64_t d,
                               int64_t stride) {
      return (size + begin + end - (k - 1) * d - 1) / stride + 1;
    };
    shape_ = {1, outputs, outputs_of(shape_[2], pads[0], pads[2], kernel_h, dilation_h, strides[0]),
              outputs_of(shape_[3], pads[1], pads[3], kernel_w, dilation_w, strides[1])};
  }

  void Pad() {
    const std::vector<int64_t> pads{0, 0, Int(0, 1), Int(0, 2), 0, 0, Int(0, 1), Int(0, 1)};
    value_ = builder_.Op("Pad", {value_, builder_.ConstantOf<int64_t>(DType::kInt64, {8}, pads),
                                 builder_.Scalar(static_cast<float>(Int(-1, 1)))});
    shape_[2] += pads[2] + pads[6];
    shape_[3] += pads[3] + pads[7];
  }

  void Dense() {
    if (shape_.size() == 4) {
      value_ = builder_.Op("Flatten", {value_}, {{"axis", int64_t{1}}});
      shape_ = {1, ElementCount(shape_)};
      if (Chance(20)) Chain();
    }
    const int64_t outputs = Channels();
    const int64_t inputs = shape_[1];
    if (Chance(50)) {
      const ValueId weights = builder_.Constant({outputs, inputs}, Weights(outputs, inputs));
      const ValueId bias = builder_.Constant({outputs}, Reals(outputs, -3.0F, 3.0F));
      value_ = builder_.Op("Gemm", {value_, weights, bias}, {{"transB", int64_t{1}}});
    } else {
      const std::vector<float> rows = Weights(outputs, inputs);
      std::vector<float> columns(rows.size());
      for (int64_t o = 0; o < outputs; ++o) {
        for (int64_t k = 0; k < inputs; ++k) {
          columns[static_cast<size_t>(k * outputs + o)] = rows[static_cast<size_t>(o * inputs + k)];
        }
      }
      value_ = builder_.Op("MatMul", {value_, builder_.Constant({inputs, outputs}, columns)});
    }
    shape_ = {1, outputs};
  }

  void Pool() {
    if (shape_.size() != 4 || shape_[2] < 2 || shape_[3] < 2) return;
    const std::vector<int64_t> pads{Int(0, 1), 0, 0, Int(0, 1)};
    const std::vector<int64_t> strides{Int(1, 2), Int(1, 2)};
    value_ = builder_.Op(
        "MaxPool", {value_},
        {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", strides}, {"pads", pads}});
    shape_[2] = (shape_[2] + pads[0] + pads[2] - 2) / strides[0] + 1;
    shape_[3] = (shape_[3] + pads[1] + pads[3] - 2) / strides[1] + 1;
  }

  void BatchNorm() {
    std::vector<float> gamma = Reals(shape_[1], -1.5F, 1.5F);
    for (float& g : gamma) g = Chance(10) ? 0.0F : g;
    const auto vector = [&](std::vector<float> values) {
      return builder_.Constant({shape_[1]}, values);
    };
    value_ =
        builder_.Op("BatchNormalization",
                    {value_, vector(gamma), vector(Reals(shape_[1], -1.0F, 1.0F)),
                     vector(Reals(shape_[1], -5.0F, 5.0F)), vector(Reals(shape_[1], 0.1F, 30.0F))},
                    {{"epsilon", 1e-5F}});
  }

  void Chain() {
    for (int64_t steps = Int(0, 3); steps > 0; --steps) {
      switch (Int(0, 8)) {
        case 0:
          value_ = builder_.Op("Relu", {value_});
          break;
        case 1:
          value_ = builder_.Op("Add", {value_, PerChannel(-3.0F, 3.0F)});
          break;
        case 2:
          value_ = builder_.Op("Mul", {value_, PerChannel(-2.0F, 2.0F)});
          break;
        case 3:
          value_ = builder_.Op("Sub", {PerChannel(-3.0F, 3.0F), value_});
          break;
        case 4:
          value_ = builder_.Op("Div", {value_, PerChannel(0.5F, 4.0F)});
          break;
        case 5:
          value_ = builder_.Op("Clip", {value_, builder_.Scalar(Real(-4.0F, 0.0F)),
                                        builder_.Scalar(Real(0.5F, 6.0F))});
          break;
        case 6:
          value_ = builder_.Op("LeakyRelu", {value_}, {{"alpha", Real(-0.2F, 0.5F)}});
          break;
        default:
          BatchNorm();
          break;
      }
    }
  }

  void Quantizer() {
    const auto rows = Chance(50) ? int64_t{1} : shape_[1];
    switch (Int(0, 4)) {
      case 0:
        value_ = builder_.BipolarQuant(value_, Scale());
        break;
      case 1: {
        const int bits = static_cast<int>(options_.quantized_output ? options_.max_bits
                                                                    : Int(1, options_.max_bits));
        value_ = builder_.Quant(value_, Scale(), bits, Chance(60), bits > 1 && Chance(50));
        break;
      }
      case 2:
        value_ = builder_.Op("Sign", {value_});
        break;
      case 3:
        value_ = builder_.MultiThreshold(value_, rows, Reals(rows, -2.0F, 2.0F), 2.0F, -1.0F);
        break;
      default: {
        const int64_t steps = Int(1, 5);
        value_ = builder_.MultiThreshold(value_, rows, Reals(rows * steps, -3.0F, 3.0F), 1.0F,
                                         static_cast<float>(-Int(0, 2)));
        break;
      }
    }
  }

  std::mt19937 random_;
  RandomGraphOptions options_;
  GraphBuilder builder_;
  ValueId value_ = kNoValue;
  Shape shape_;
};

}  // namespace

Graph RandomGraph(uint32_t seed, const RandomGraphOptions& options) {
  return Generator(seed, options).Make();
}

std::vector<float> RandomInput(const Graph& graph, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> real(0.0F, 2.0F);
  std::vector<float> values(
      static_cast<size_t>(ElementCount(graph.value(graph.inputs[0].value).shape)));
  // Whole numbers too, so that exact zeros and ties occur.
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = i % 3 == 0 ? std::nearbyint(real(random)) * 0.5F : real(random);
  }
  return values;
}

}  // namespace bitmill
