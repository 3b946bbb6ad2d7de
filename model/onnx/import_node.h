// NodeProto -> Node, without its inputs and outputs.
#pragma once

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "onnx/onnx.pb.h"

namespace bitmill {

// Name, domain ("" for ai.onnx), operator and attributes. Casts to 16-bit floating-point types
// become casts to float32, as the whole graph computes in float32. Errors do not name the node.
absl::StatusOr<Node> ImportNode(const onnx::NodeProto& proto);

}  // namespace bitmill
