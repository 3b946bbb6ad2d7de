// What passes need to look around in a graph and to change it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/graph.h"

namespace bitmill {

// Who makes and who reads each value, for a graph that is not changed meanwhile except through
// SetProducer() and Remove().
class GraphIndex {
 public:
  explicit GraphIndex(const Graph& graph);

  // Index of the node that makes the value, -1 for graph inputs and constants.
  int32_t producer(ValueId id) const { return producers_[static_cast<size_t>(id)]; }
  // Readers, graph outputs included; a node that reads the value twice counts twice.
  int32_t uses(ValueId id) const { return uses_[static_cast<size_t>(id)]; }
  // The node that makes the value when that value has this one reader, else -1.
  int32_t SoleProducer(ValueId id) const { return uses(id) == 1 ? producer(id) : -1; }
  void SetProducer(ValueId id, int32_t node) { producers_[static_cast<size_t>(id)] = node; }

 private:
  std::vector<int32_t> producers_, uses_;
};

// Attributes with their defaults; one of another type counts as absent (the verifier has refused
// graphs where it matters).
int64_t IntAttribute(const Node& node, absl::string_view name, int64_t fallback);
float FloatAttribute(const Node& node, absl::string_view name, float fallback);
std::string StringAttribute(const Node& node, absl::string_view name, const char* fallback);
std::vector<int64_t> IntsAttribute(const Node& node, absl::string_view name);

// Whether the node is this (not yet lowered) operator, in whichever of its domains.
bool IsOp(const Node& node, absl::string_view op);

// The constant behind input `index`, or null when it is absent or not constant.
const Tensor* ConstantInput(const Graph& graph, const Node& node, size_t index);
// Input `index`, kNoValue when the node has fewer.
ValueId InputOf(const Node& node, size_t index);

// Elements of a constant as float; empty for a type that is not numeric.
std::vector<float> FloatsOf(const Tensor& tensor);
// True (and sets `value`) when all elements are equal, bit for bit.
bool UniformValue(const Tensor& tensor, float* value);

// Marks a node as gone; RemoveDeadNodes drops it.
void EraseNode(Node& node);
bool IsErased(const Node& node);

// Drops erased nodes, nodes whose outputs nobody needs, and the contents of values that are left
// over; renumbers values so that only those in use remain. Graph inputs and outputs stay.
void RemoveDeadNodes(Graph& graph);

}  // namespace bitmill
