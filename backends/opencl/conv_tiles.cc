#include "backends/opencl/conv_tiles.h"

#include <algorithm>
#include <cstdint>

namespace bitmill {

std::vector<ConvTile> PossibleTiles(const ConvShape& shape) {
  std::vector<ConvTile> tiles;
  for (const int32_t group : kOctetGroups) tiles.push_back({.group_items = group});
  if (shape.has_code_runs()) {
    for (const int32_t run : {1, kCodeRun}) {
      if (run > shape.out_height * shape.out_width) continue;
      for (const int32_t octets : {1, 2}) {
        if (octets > 1 && !shape.has_wide_codes()) continue;
        for (const int32_t group : kOctetGroups) {
          tiles.push_back({.run = run, .group_items = group, .blocks = octets});
        }
      }
    }
  }
  if (!shape.has_blocks()) return tiles;
  constexpr int32_t kRuns[] = {1, 2, 4, 8, 16, 32};
  int32_t last = 0;
  for (const int32_t wanted : kRuns) {
    const auto run = static_cast<int32_t>(std::min<int64_t>(wanted, shape.max_run()));
    if (run == last) break;
    for (const int32_t group : kBlockGroups) tiles.push_back({.run = run, .group_items = group});
    last = run;
  }
  if (!shape.has_slices()) return tiles;
  for (const int32_t lines : {1, 2, 4, 8}) {
    for (const int32_t blocks : {1, 2, 4}) {
      const bool vectors = shape.out_width > device::kOctet;
      if (lines > shape.out_height || (blocks - 1) * device::kBlock >= shape.outputs ||
          lines * blocks * (vectors ? 2 : 1) > device::kMaxSliceSums) {
        continue;
      }
      tiles.push_back({.group_items = kSliceGroup, .lines = lines, .blocks = blocks});
    }
  }
  return tiles;
}

}  // namespace bitmill
