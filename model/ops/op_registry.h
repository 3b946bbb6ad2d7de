// The operators that Bitmill knows: one definition each, with its checks, shape inference and
// reference implementation. Used three ways: to fold constants, as the oracle of every test
// (model/reference.h), and as the fall-back step of the CPU backend.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/graph.h"

namespace bitmill {

struct TensorType {
  DType dtype = DType::kInvalid;
  Shape shape;
};

// What an operator sees of its inputs when shapes are inferred; an absent optional input has
// dtype kInvalid. `constant` is null unless the value is known.
struct InputInfo {
  DType dtype = DType::kInvalid;
  absl::Span<const int64_t> shape;
  const Tensor* constant = nullptr;
};

struct OpDef {
  const char* name;  // operator name; QONNX operators match under each of their domains
  int min_inputs, max_inputs;
  int min_outputs, max_outputs;
  // Types of all outputs. Errors say what is wrong with the node's inputs or attributes, without
  // naming the node (the caller does). Checks every size for overflow.
  absl::StatusOr<std::vector<TensorType>> (*infer)(const Node& node, int64_t opset,
                                                   absl::Span<const InputInfo> inputs);
  // Computes outputs whose types infer() gave. Absent inputs have data == nullptr. Allocates
  // nothing that grows with the tensors; reentrant. Inputs and outputs do not overlap.
  absl::Status (*eval)(const Node& node, int64_t opset, absl::Span<const TensorView> inputs,
                       absl::Span<const MutableTensorView> outputs);
};

// Null when the operator is not supported. Domain "" and "ai.onnx" are ONNX; the QONNX domains are
// onnx.brevitas, finn.custom_op.general, qonnx.custom_op.general, qonnx.custom_op.channels_last.
const OpDef* FindOp(absl::string_view domain, absl::string_view op);

// "Add, ArgMax, ...": for the message that refuses an unknown operator.
std::string SupportedOps();

}  // namespace bitmill
