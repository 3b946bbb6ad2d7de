// Whether a compiled model answers right, before it is timed.
#pragma once

#include "absl/status/status.h"
#include "backends/backend.h"
#include "model/graph.h"

namespace bitmill {

// Runs one made-up row through `executable`, compiled from `graph` with precision exact, and by the
// reference. Where rounding of float layers turns codes that comparison can only be a rough one, so
// the low-bit layers are also held against the reference kernels, bit for bit. Internal when they
// differ.
absl::Status CheckAgainstReference(const Graph& graph, const Executable& executable);

}  // namespace bitmill
