#include "backends/cpu/plan_memory.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cpu/arena_planner.h"
#include "backends/cpu/row_schedule.h"
#include "base/aligned_buffer.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxRowArenaBytes = int64_t{4} << 30;

int64_t WholeLines(int64_t bytes) {
  return (bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
}

ArenaRequest RequestOf(const BufferNeed& need, int64_t rows, int threads) {
  return {need.row_bytes * rows + need.fixed_bytes + WholeLines(need.slot_bytes) * threads,
          need.first_use, need.last_use};
}

std::vector<ScheduledStep> StepsToSchedule(absl::Span<const BufferNeed> needs,
                                           absl::Span<const PushedSteps> pushed, const Plan& plan) {
  std::vector<ScheduledStep> steps;
  for (size_t i = 0; i < pushed.size(); ++i) {
    const StepInfo& info = plan.steps[i]->info();
    ScheduledStep& step = steps.emplace_back();
    step.value_bytes = info.value_bytes;
    step.weight_bytes = info.weight_bytes;
    step.rows_together = info.rows_together;
    for (const BufferNeed& need : needs) {
      if (need.first_use > pushed[i].last || need.last_use < pushed[i].first) continue;
      step.live_bytes += need.row_bytes;
      if (need.first_use < pushed[i].first) step.entering_bytes += need.row_bytes;
    }
  }
  return steps;
}

}  // namespace

absl::Status PlanMemory(const StepBuilder& builder, absl::Span<const PushedSteps> steps,
                        RowScheduler schedule_rows, Plan& plan) {
  const std::vector<BufferNeed>& needs = builder.needs();
  std::vector<ArenaRequest> requests;
  requests.reserve(needs.size());
  for (const BufferNeed& need : needs) requests.push_back(RequestOf(need, 1, plan.threads));
  if (const int64_t one_row = PlanArena(requests).bytes; one_row > kMaxRowArenaBytes) {
    return absl::ResourceExhaustedError(absl::StrCat("one row needs ", one_row,
                                                     " bytes of working memory, at most ",
                                                     kMaxRowArenaBytes, " are allowed"));
  }
  RowSchedule schedule = schedule_rows(StepsToSchedule(needs, steps, plan), builder.chunk_rows(),
                                       builder.kernels().cache_bytes);
  plan.chunk_rows = schedule.chunk_rows;
  plan.segments = std::move(schedule.segments);
  const auto segment_of = [&](int32_t use) {
    return std::find_if(plan.segments.begin(), plan.segments.end(), [&](const RowSegment& segment) {
      return use <= steps[segment.end - 1].last;
    });
  };
  // What passes from a segment to another exists for all rows of the chunk, as long as any step of
  // the two and those in between runs; all else for the rows of a group.
  for (size_t i = 0; i < needs.size(); ++i) {
    const auto first = segment_of(needs[i].first_use), last = segment_of(needs[i].last_use);
    const bool passes = first != last;
    requests[i] = RequestOf(needs[i], passes ? plan.chunk_rows : first->rows, plan.threads);
    if (passes) {
      requests[i].first_use = steps[first->first].first;
      requests[i].last_use = steps[last->end - 1].last;
    }
    plan.chunk_row_bytes.push_back(passes ? needs[i].row_bytes : 0);
    plan.slot_bytes.push_back(WholeLines(needs[i].slot_bytes));
  }
  ArenaPlan arena = PlanArena(requests);
  plan.buffer_offsets = std::move(arena.offsets);
  plan.arena_bytes = arena.bytes;
  return absl::OkStatus();
}

absl::Status CheckFits(const Plan& plan, int64_t working_bytes) {
  if (working_bytes == 0 || plan.arena_bytes <= working_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("needs ", plan.arena_bytes, " bytes of working memory, at most ", working_bytes,
                   " are allowed (the memory budget)"));
}

}  // namespace bitmill
