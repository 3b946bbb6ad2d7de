// Runs a lowered graph, slowly and plainly: codes as int32 tensors of the logical shape, loops over
// every tap. The oracle of executors, and what tests of the passes compare with RunReference.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/graph.h"

namespace bitmill {

// One row, inputs and outputs in the order of the graph's ports with its (batch 1) shapes.
// InvalidArgument when the inputs do not fit; nodes that stayed ONNX run as model/ops has them.
absl::StatusOr<std::vector<Tensor>> RunLoweredReference(const Graph& lowered,
                                                        absl::Span<const TensorView> inputs);

// The same, with all values: codes and bits as int32 tensors (a bit is 0 for +1, 1 for -1), values
// that nothing made empty.
absl::StatusOr<std::vector<Tensor>> RunLoweredValues(const Graph& lowered,
                                                     absl::Span<const TensorView> inputs);

}  // namespace bitmill
