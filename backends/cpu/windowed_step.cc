#include "backends/cpu/windowed_step.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>
#include <vector>

#include "backends/cpu/conv_blocks.h"
#include "base/status_macros.h"
#include "kernels/cache_sizes.h"

namespace bitmill {
namespace {

// Into how many parts threads divide the lines of the map, at most.
constexpr int64_t kMaxParts = 16;

// The lines of a block and their windows stay in the second-level cache beside the weights.
int64_t BlockBytes() { return MachineCaches().l2 / 8; }

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

struct LineRange {
  int64_t first = 0, count = 0;

  void Add(int64_t line) {
    if (count++ == 0) first = line;
  }
};

class GroupStates final : public StepState {
 public:
  std::unique_ptr<StepState> front, back;
};

class WindowedStep final : public Step {
 public:
  WindowedStep(LineGroup first, LineGroup second)
      : front(std::move(first)), back(std::move(second)) {
    window = back.first().access().window;
    map = front.last().access().writes;
    map_line_bytes = front.last().access().line_bytes;
    const int64_t bytes = front.line_bytes() * window.stride + back.line_bytes();
    const int64_t block_bytes = Shifted(BlockBytes(), front.block_shift());
    block_lines = std::clamp<int64_t>(block_bytes / bytes, 1, back.lines());
    // A window lies in two parts at most.
    const int64_t smallest = std::max((front.lines() + kMaxParts - 1) / kMaxParts, window.reach);
    part_lines = RoundUp(smallest, front.unit());
    FillParts();
    mutable_info() = front.info();
    AppendInfo(back.info(), mutable_info());
    mutable_info().blocked = true;
    mutable_info().rows_together = false;
  }

  std::unique_ptr<StepState> CreateState() const override {
    auto state = std::make_unique<GroupStates>();
    state->front = front.CreateState();
    state->back = back.CreateState();
    return state;
  }

  int64_t parts() const override { return static_cast<int64_t>(own.size()); }

  void Prepare(const StepRun& run) const override {
    front.Prepare(run);
    back.Prepare(run);
    std::memset(run.buffers[arrivals], 0, static_cast<size_t>(run.rows * ArrivalBytes()));
  }

  absl::Status Run(const StepRun& run) const override {
    front.Prepare(run);
    back.Prepare(run);
    for (int64_t r = 0; r < run.rows; ++r) BITMILL_RETURN_IF_ERROR(RunRow(run, r));
    return absl::OkStatus();
  }

  // The map as a whole: threads cannot share the lines of windows otherwise. Lines whose windows
  // lie in two parts are computed by who is ready last with either.
  absl::Status RunParts(const StepRun& run, int64_t first, int64_t count) const override {
    const Runs runs(run);
    for (int64_t r = 0; r < run.rows; ++r) {
      for (int64_t part = first; part < first + count; ++part) {
        const int64_t begin = part * part_lines;
        const int64_t lines = std::min(part_lines, front.lines() - begin);
        BITMILL_RETURN_IF_ERROR(front.RunLines(runs.front, r, begin, lines));
        BITMILL_RETURN_IF_ERROR(RunBack(runs, r, own[static_cast<size_t>(part)]));
        for (int64_t border = std::max<int64_t>(part - 1, 0);
             border < std::min(part + 1, parts() - 1); ++border) {
          if (!ArriveLast(run, r, border)) continue;
          BITMILL_RETURN_IF_ERROR(RunBack(runs, r, between[static_cast<size_t>(border)]));
        }
      }
    }
    return absl::OkStatus();
  }

  int64_t ArrivalBytes() const { return parts() * int64_t{sizeof(int32_t)}; }

  int32_t arrivals = -1;  // a buffer: [parts] a row, how many parts beside each border are ready

 private:
  struct Runs {
    explicit Runs(const StepRun& run) : front(run), back(run) {
      const auto& states = static_cast<const GroupStates&>(*run.state);
      front.state = states.front.get();
      back.state = states.back.get();
    }
    // Of `buffer` only what begins at this byte exists, at its start.
    void Move(int32_t buffer, int64_t bytes) {
      for (StepRun* run : {&front, &back}) {
        run->moved_buffer = buffer;
        run->moved_bytes = bytes;
      }
    }
    StepRun front, back;
  };

  // The lines of the map that line y reads, as far as they exist.
  LineRange WindowOf(int64_t y, int64_t count) const {
    const int64_t begin = y * window.stride - window.before;
    const int64_t end = begin + (count - 1) * window.stride + window.reach;
    const int64_t first = std::clamp<int64_t>(begin, 0, front.lines());
    return {first, std::max<int64_t>(std::min(end, front.lines()) - first, 0)};
  }

  void FillParts() {
    const int64_t count = (front.lines() + part_lines - 1) / part_lines;
    own.resize(static_cast<size_t>(count));
    between.resize(static_cast<size_t>(count - 1));
    for (int64_t y = 0; y < back.lines(); ++y) {
      const LineRange lines = WindowOf(y, 1);
      const auto part = static_cast<size_t>(std::min(lines.first / part_lines, count - 1));
      const int64_t last = std::max(lines.first, lines.first + lines.count - 1);
      const bool crosses = lines.count > 0 && static_cast<size_t>(last / part_lines) != part;
      (crosses ? between[part] : own[part]).Add(y);
    }
  }

  absl::Status RunBack(const Runs& runs, int64_t r, const LineRange& lines) const {
    if (lines.count == 0) return absl::OkStatus();
    return back.RunLines(runs.back, r, lines.first, lines.count);
  }

  bool ArriveLast(const StepRun& run, int64_t r, int64_t border) const {
    auto* const counts = reinterpret_cast<int32_t*>(run.buffers[arrivals] + r * ArrivalBytes());
    return std::atomic_ref<int32_t>(counts[border]).fetch_add(1, std::memory_order_acq_rel) == 1;
  }

  // Lines kept .. made - 1 of the map lie at the start of its buffer.
  absl::Status RunRow(const StepRun& run, int64_t r) const {
    Runs runs(run);
    std::byte* const memory = run.buffers[map];
    int64_t kept = 0, made = 0;
    const auto place = [&](int64_t first) {
      if (first > kept && made > first) {
        std::memmove(memory, memory + (first - kept) * map_line_bytes,
                     static_cast<size_t>((made - first) * map_line_bytes));
      }
      kept = first;
      runs.Move(map, (r * front.lines() + kept) * map_line_bytes);
    };
    const auto make = [&](int64_t count) {
      const int64_t lines = std::min(RoundUp(count, front.unit()), front.lines() - made);
      made += lines;
      return front.RunLines(runs.front, r, made - lines, lines);
    };
    for (int64_t y = 0; y < back.lines(); y += block_lines) {
      const int64_t count = std::min(block_lines, back.lines() - y);
      const LineRange needed = WindowOf(y, count);
      place(std::min(needed.first, made));
      if (const int64_t end = needed.first + needed.count; end > made) {
        BITMILL_RETURN_IF_ERROR(make(end - made));
      }
      BITMILL_RETURN_IF_ERROR(back.RunLines(runs.back, r, y, count));
    }
    // What other steps of the front write, somebody may read.
    if (made == front.lines()) return absl::OkStatus();
    place(made);
    return make(front.lines() - made);
  }

  LineGroup front, back;
  LineWindow window;
  int32_t map = -1;
  int64_t map_line_bytes = 0;
  int64_t block_lines = 1;         // of the back, on one thread
  int64_t part_lines = 1;          // of the front
  std::vector<LineRange> own;      // lines of the back that read of one part only
  std::vector<LineRange> between;  // those that read of a part and of the next one
};

}  // namespace

std::unique_ptr<Step> MakeWindowedStep(LineGroup front, LineGroup back,
                                       absl::FunctionRef<int32_t(int64_t row_bytes)> add_buffer) {
  auto step = std::make_unique<WindowedStep>(std::move(front), std::move(back));
  step->arrivals = add_buffer(step->ArrivalBytes());
  return step;
}

}  // namespace bitmill
