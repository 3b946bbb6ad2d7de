// ModelProto -> Graph: names become value ids, nodes are put in execution order.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "onnx/onnx.pb.h"

namespace bitmill {

// A graph whose values have no shapes yet, except graph inputs (batch 1) and constants. Graph
// inputs of 16-bit floating-point types are cast to float32 at once, and outputs back at the end.
// InvalidArgument for what is malformed, Unimplemented for what is not supported; whether the
// operators are known is not looked at.
absl::StatusOr<Graph> ImportGraph(const onnx::ModelProto& model, const std::string& source);

}  // namespace bitmill
