// Small graphs by hand. Shapes are inferred by InferShapes, so a test says only what matters.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/graph.h"

namespace bitmill {

class GraphBuilder {
 public:
  explicit GraphBuilder(int64_t opset = 17);

  ValueId Input(const std::string& name, const Shape& shape, DType dtype = DType::kFloat32);
  ValueId Constant(const Shape& shape, const std::vector<float>& values);
  ValueId Scalar(float value) { return Constant({}, {value}); }
  template <typename T>
  ValueId ConstantOf(DType dtype, const Shape& shape, const std::vector<T>& values);
  // Adds a node with one output of type float32 (its final type is inferred).
  ValueId Op(const std::string& op, const std::vector<ValueId>& inputs,
             std::map<std::string, Attribute> attributes = {});

  // {-1, +1} from 0 on, times `scale`.
  ValueId BipolarQuant(ValueId input, float scale = 1.0F);
  ValueId Quant(ValueId input, float scale, int bits, bool is_signed, bool narrow = false);
  ValueId MultiThreshold(ValueId input, int64_t channels, const std::vector<float>& thresholds,
                         float out_scale, float out_bias);

  // Infers shapes and checks the graph (the test fails when it is not valid).
  Graph Build(const std::vector<ValueId>& outputs);

 private:
  ValueId Add(Value value);

  Graph graph_;
};

// Lowered operations in order, "ONNX" names for nodes that stayed: {"quantize", "conv", "Softmax"}.
std::vector<std::string> LoweredOps(const Graph& graph);

// The only node of this kind (fails the test when there is another number).
template <typename Op>
const Op* OnlyOp(const Graph& graph) {
  const Op* found = nullptr;
  int count = 0;
  for (const Node& node : graph.nodes) {
    if (const auto* op = std::get_if<Op>(&node.lowered)) {
      found = op;
      ++count;
    }
  }
  return count == 1 ? found : nullptr;
}

// Runs both interpreters; each returns the first output as floats.
std::vector<float> RunOriginal(const Graph& graph, const std::vector<float>& input);
std::vector<float> RunLowered(const Graph& lowered, const std::vector<float>& input);
// The same for an input of any type.
std::vector<float> RunOriginalOn(const Graph& graph, const Tensor& input);
std::vector<float> RunLoweredOn(const Graph& lowered, const Tensor& input);

template <typename T>
ValueId GraphBuilder::ConstantOf(DType dtype, const Shape& shape, const std::vector<T>& values) {
  Value value;
  value.dtype = dtype;
  value.shape = shape;
  auto tensor = Tensor::Create(dtype, shape);
  BITMILL_CHECK(tensor.ok() && tensor->elements() == static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i) tensor->template span<T>()[i] = values[i];
  value.constant = std::make_shared<const Tensor>(*std::move(tensor));
  return Add(std::move(value));
}

}  // namespace bitmill
