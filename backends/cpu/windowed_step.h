// Line steps behind line steps of another height: the second ones begin with a step that reads
// windows of the lines that the first ones write, as a pool does, and nobody else reads those.
//
// On one thread the lines between them pass through as much memory as a few windows take, which
// stays in the second-level cache; the map never exists as a whole.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "backends/cpu/line_step.h"

namespace bitmill {

// `front`: its last step writes the map; `back`: its first step reads windows of it, of reach at
// least their stride. `add_buffer` makes a buffer of so many bytes a row that lives as long as the
// step.
std::unique_ptr<Step> MakeWindowedStep(LineGroup front, LineGroup back,
                                       absl::FunctionRef<int32_t(int64_t row_bytes)> add_buffer);

}  // namespace bitmill
