#include "tools/bench/model_timing.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int kMinRepetitions = 10;
constexpr uint64_t kSeed = 1;

using WallClock = std::chrono::steady_clock;

// When some rows were computed, by one thread or by several.
struct Lap {
  WallClock::time_point start, end;
  int64_t rows = 0;

  double seconds() const { return std::chrono::duration<double>(end - start).count(); }
  int64_t row_ps() const {
    return static_cast<int64_t>(seconds() * 1e12 / static_cast<double>(rows));
  }
};

// Batches one after the other on this thread for `seconds`; at least one.
absl::StatusOr<Lap> TimeBatches(const Executable& executable, const TimedBatch& batch,
                                ExecutionContext& context, int64_t rows, double seconds) {
  Lap lap;
  lap.start = WallClock::now();
  do {
    BITMILL_RETURN_IF_ERROR(batch.Run(executable, context));
    lap.rows += rows;
    lap.end = WallClock::now();
  } while (lap.seconds() < seconds);
  return lap;
}

// What one of the threads that work side by side needs.
struct Lane {
  TimedBatch batch;
  std::unique_ptr<ExecutionContext> context;
  absl::StatusOr<Lap> lap = Lap{};
};

// The same with a batch on each worker of `scheduler`, from the first one's start to the last one's
// end: lanes neither start nor end together, and who has ended helps the others.
absl::StatusOr<Lap> TimeSideBySide(const Executable& executable, std::vector<Lane>& lanes,
                                   Scheduler& scheduler, int64_t rows, double seconds) {
  std::vector<std::promise<void>> done(lanes.size());
  const auto flow = std::make_shared<Flow>();
  for (size_t i = 0; i < lanes.size(); ++i) {
    scheduler.Enqueue(flow, [&, i] {
      Lane& lane = lanes[i];
      lane.lap = TimeBatches(executable, lane.batch, *lane.context, rows, seconds);
      done[i].set_value();
    });
  }
  for (std::promise<void>& one : done) one.get_future().wait();
  Lap all;
  for (const Lane& lane : lanes) {
    BITMILL_RETURN_IF_ERROR(lane.lap.status());
    all.start = all.rows == 0 ? lane.lap->start : std::min(all.start, lane.lap->start);
    all.end = std::max(all.end, lane.lap->end);
    all.rows += lane.lap->rows;
  }
  return all;
}

}  // namespace

absl::StatusOr<TimedBatch> TimedBatch::Create(const Signature& signature, int64_t rows) {
  TimedBatch batch;
  batch.rows_ = rows;
  for (const TensorSpec& spec : signature.inputs) {
    BITMILL_ASSIGN_OR_RETURN(RowSet set, RandomRows(spec, rows, kSeed));
    batch.inputs_.push_back(std::move(set));
  }
  for (const TensorSpec& spec : signature.outputs) {
    batch.outputs_.emplace_back(static_cast<size_t>(rows * spec.row_bytes), '\0');
  }
  for (size_t i = 0; i < batch.inputs_.size(); ++i) {
    auto& pointers = batch.input_rows_.emplace_back();
    const auto* base = reinterpret_cast<const std::byte*>(batch.inputs_[i].bytes.data());
    for (int64_t row = 0; row < rows; ++row) {
      pointers.push_back(base + row * signature.inputs[i].row_bytes);
    }
  }
  for (size_t i = 0; i < batch.outputs_.size(); ++i) {
    auto& pointers = batch.output_rows_.emplace_back();
    auto* base = reinterpret_cast<std::byte*>(batch.outputs_[i].data());
    for (int64_t row = 0; row < rows; ++row) {
      pointers.push_back(base + row * signature.outputs[i].row_bytes);
    }
  }
  for (const auto& pointers : batch.input_rows_) batch.input_ports_.push_back(pointers.data());
  for (const auto& pointers : batch.output_rows_) batch.output_ports_.push_back(pointers.data());
  return batch;
}

absl::StatusOr<RowTimes> TimeOneThread(const Executable& executable, const TimedBatch& batch,
                                       int64_t rows, double seconds) {
  const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
  BITMILL_RETURN_IF_ERROR(batch.Run(executable, *context));
  const int64_t first = ThreadCpuNanos();
  BITMILL_RETURN_IF_ERROR(batch.Run(executable, *context));
  // A repetition is long enough that reading the clock does not count.
  constexpr int64_t kRepetitionNanos = 200'000;
  const int64_t once = std::max<int64_t>(1, ThreadCpuNanos() - first);
  const int64_t runs = std::max<int64_t>(1, kRepetitionNanos / once);
  RowTimes times;
  const int64_t end = ThreadCpuNanos() + static_cast<int64_t>(seconds * 1e9);
  while (times.size() < kMinRepetitions || ThreadCpuNanos() < end) {
    const int64_t start = ThreadCpuNanos();
    for (int64_t run = 0; run < runs; ++run) {
      BITMILL_RETURN_IF_ERROR(batch.Run(executable, *context));
    }
    const auto nanos = static_cast<double>(ThreadCpuNanos() - start);
    times.push_back(static_cast<int64_t>(nanos * 1e3 / static_cast<double>(runs * rows)));
  }
  std::sort(times.begin(), times.end());
  return times;
}

absl::StatusOr<ManyTimes> TimeManyThreads(const Executable& alone, const Executable& shared,
                                          TbbScheduler& scheduler, int64_t rows, double seconds) {
  const std::unique_ptr<ExecutionContext> own = alone.CreateContext();
  std::vector<Lane> lanes;
  for (int i = 0; i < scheduler.concurrency(); ++i) {
    BITMILL_ASSIGN_OR_RETURN(TimedBatch batch, TimedBatch::Create(shared.signature(), rows));
    lanes.push_back({std::move(batch), shared.CreateContext()});
  }
  Lane& first = lanes.front();
  BITMILL_RETURN_IF_ERROR(first.batch.Run(alone, *own));
  const std::vector<std::vector<char>> want = first.batch.outputs();
  BITMILL_RETURN_IF_ERROR(first.batch.Run(shared, *first.context));
  if (first.batch.outputs() != want) {
    return absl::InternalError("a shared batch has another result than one thread");
  }
  // Windows are short, so that a disturbance spoils few of them, but hold many batches of a lane:
  // at the end of one, workers wait for the last.
  constexpr double kMostWindows = 100, kFewestWindows = 10, kWindowBatches = 8;
  BITMILL_ASSIGN_OR_RETURN(const Lap once, TimeBatches(alone, first.batch, *own, rows, 0.0));
  const double window = std::max(seconds / kMostWindows, once.seconds() * kWindowBatches);
  const double windows = std::clamp(seconds / window, kFewestWindows, kMostWindows);
  ManyTimes times;
  for (int i = 0; i < static_cast<int>(windows); ++i) {
    BITMILL_ASSIGN_OR_RETURN(const Lap one, TimeBatches(alone, first.batch, *own, rows, window));
    BITMILL_ASSIGN_OR_RETURN(const Lap shared_batch,
                             TimeBatches(shared, first.batch, *first.context, rows, window));
    BITMILL_ASSIGN_OR_RETURN(const Lap all, TimeSideBySide(shared, lanes, scheduler, rows, window));
    times.alone.push_back(one.row_ps());
    times.shared.push_back(shared_batch.row_ps());
    times.side_by_side.push_back(all.row_ps());
  }
  for (RowTimes* const one : {&times.alone, &times.shared, &times.side_by_side}) {
    std::sort(one->begin(), one->end());
  }
  return times;
}

}  // namespace bitmill
