// The intermediate representation: a plain value that readers make and passes rewrite.
//
// A Graph is a list of nodes in execution order over typed values. Shapes are static: a batch
// dimension (a symbolic or unknown first dimension, or a fixed 1) is 1 here, and the executable
// runs the graph for every row of a batch. Nodes carry ONNX operator names and attributes until
// the lowering passes replace them by the typed operations of model/lowered.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/dtype.h"
#include "base/tensor.h"
#include "model/lowered.h"

namespace bitmill {

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;  // an optional input that is absent

using SharedTensor = std::shared_ptr<const Tensor>;  // constants are shared between graph copies

using Attribute = std::variant<int64_t, float, std::string, std::vector<int64_t>,
                               std::vector<float>, std::vector<std::string>, SharedTensor>;

struct Value {
  std::string name;
  DType dtype = DType::kInvalid;  // logical type; what a lowered value is packed as is in `code`
  Shape shape;                    // static, batch dimension 1; valid once shapes are inferred
  SharedTensor constant;          // null unless the value is known at load time
  CodeInfo code;                  // set by lowering for values that hold bits or small integers
};

struct Node {
  std::string name;    // as in the file; may be empty
  std::string domain;  // "" for ONNX itself
  std::string op;
  std::vector<ValueId> inputs;   // kNoValue for absent optional inputs
  std::vector<ValueId> outputs;  // kNoValue for outputs nobody asked for
  std::map<std::string, Attribute> attributes;
  LoweredOp lowered;  // std::monostate until lowered; then `op` is only for messages
};

struct GraphPort {
  ValueId value = kNoValue;
  std::string name;
  DType dtype = DType::kInvalid;
  std::vector<int64_t> declared_shape;  // as in the file; -1 for symbolic or unknown
  // Of a part of a lowered graph: a float map that is handed over channels innermost.
  bool channels_last = false;
};

struct Graph {
  std::string name;
  std::string source;  // path, for messages
  int64_t opset = 0;   // of the ONNX domain
  std::vector<Value> values;
  std::vector<Node> nodes;  // topologically sorted
  std::vector<GraphPort> inputs, outputs;
  // True when dimension 0 of every input and output is an independent batch dimension.
  bool batchable = false;

  ValueId AddValue(Value value) {
    values.push_back(std::move(value));
    return static_cast<ValueId>(values.size()) - 1;
  }
  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
};

// "node 'conv1' (onnx.brevitas::Quant)" or "node #12 (Conv)": how every message names a node.
std::string DescribeNode(const Graph& graph, const Node& node);

}  // namespace bitmill
