// Types, shapes and small constants of all values of a graph: what InferShapes writes into it and
// VerifyGraph compares with it.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "model/ops/op_registry.h"

namespace bitmill {

struct InferredTypes {
  std::vector<TensorType> types;        // by value; kInvalid for values that nothing defines
  std::vector<SharedTensor> constants;  // by value; small results of shape arithmetic included
};

// In node order. Lowered nodes keep the types that their outputs have. InvalidArgument when a node
// does not fit its inputs or reads what is not defined before it, Unimplemented for an operator
// that is not known; both name the node. All value ids must be in range.
absl::StatusOr<InferredTypes> InferTypes(const Graph& graph);

// What a node's operator sees of its inputs.
std::vector<InputInfo> InputInfos(const Node& node, const InferredTypes& inferred);

}  // namespace bitmill
