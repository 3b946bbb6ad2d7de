// One node, evaluated with its operator's reference implementation.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/graph.h"
#include "model/ops/op_registry.h"

namespace bitmill {

// Runs the operator and returns one tensor for each of node.outputs (empty tensors for kNoValue).
// `inputs` are the node's (absent ones have no data), `types` what infer() gave for them. Errors
// do not name the node.
absl::StatusOr<std::vector<Tensor>> EvaluateNode(const OpDef& op, const Node& node, int64_t opset,
                                                 absl::Span<const TensorView> inputs,
                                                 absl::Span<const TensorType> types);

// About how many element operations that takes; saturates. Bounds the work of folding, because a
// small hostile file can describe a large computation.
int64_t EvaluationCost(const Node& node, absl::Span<const InputInfo> inputs,
                       absl::Span<const TensorType> outputs);

// True for the operators that need only the shape of their input (Shape).
bool NeedsNoData(const Node& node);

}  // namespace bitmill
