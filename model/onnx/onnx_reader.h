// ONNX files (opset 7 to 21, QONNX operators in their four domains) -> Graph.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/graph.h"

namespace bitmill {

// Parses, resolves names, sorts nodes, infers all shapes for a batch of 1 and folds what is
// constant (shape arithmetic included); the result has passed VerifyGraph. `source` is the path
// for messages. InvalidArgument for a malformed file (with what and where), Unimplemented for an
// operator, opset or feature that is not supported (with the node, its domain, and what is).
// Never reads external data files; never allocates more than a small multiple of the file.
absl::StatusOr<Graph> ReadOnnx(absl::string_view bytes, const std::string& source);

}  // namespace bitmill
