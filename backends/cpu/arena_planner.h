// Places buffers with known lifetimes in one arena, so that those which are never alive together
// share memory. A pure function: largest first, each at the lowest offset where it fits.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace bitmill {

// One buffer; alive from step `first_use` to step `last_use`, both included.
struct ArenaRequest {
  int64_t bytes = 0;  // at least 0
  int32_t first_use = 0;
  int32_t last_use = 0;  // at least first_use
};

struct ArenaPlan {
  std::vector<int64_t> offsets;  // of each request, multiples of a cache line
  int64_t bytes = 0;             // of the whole arena
};

// Sizes are trusted to sum to less than 2^62 (the plan builder caps each). Buffers alive at the
// same step never overlap. Quadratic in the number of buffers.
ArenaPlan PlanArena(absl::Span<const ArenaRequest> requests);

}  // namespace bitmill
