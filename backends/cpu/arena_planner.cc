#include "backends/cpu/arena_planner.h"

#include <algorithm>
#include <numeric>

#include "base/aligned_buffer.h"

namespace bitmill {
namespace {

int64_t RoundUp(int64_t bytes) {
  return (bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
}

bool AliveTogether(const ArenaRequest& a, const ArenaRequest& b) {
  return a.first_use <= b.last_use && b.first_use <= a.last_use;
}

}  // namespace

ArenaPlan PlanArena(absl::Span<const ArenaRequest> requests) {
  ArenaPlan plan;
  plan.offsets.assign(requests.size(), 0);

  std::vector<size_t> by_size(requests.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });

  struct Range {
    int64_t begin, end;
  };
  std::vector<size_t> placed;
  std::vector<Range> taken;
  for (const size_t index : by_size) {
    const int64_t bytes = RoundUp(requests[index].bytes);
    taken.clear();
    for (const size_t other : placed) {
      if (AliveTogether(requests[index], requests[other])) {
        const int64_t begin = plan.offsets[other];
        taken.push_back({begin, begin + RoundUp(requests[other].bytes)});
      }
    }
    std::sort(taken.begin(), taken.end(),
              [](const Range& a, const Range& b) { return a.begin < b.begin; });
    int64_t offset = 0;
    for (const Range& range : taken) {
      if (range.begin - offset >= bytes) break;
      offset = std::max(offset, range.end);
    }
    plan.offsets[index] = offset;
    plan.bytes = std::max(plan.bytes, offset + bytes);
    placed.push_back(index);
  }
  return plan;
}

}  // namespace bitmill
