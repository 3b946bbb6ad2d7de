#include "backends/cpu/shared_run.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"

namespace bitmill {
namespace {

// A fork and join costs about a microsecond; the last part of a step may leave the other threads
// idle for its whole length.
constexpr double kMinStepMicros = 20.0;
constexpr double kMinThreadMicros = 10.0;  // of a step, each
constexpr double kMinBatchMicros = 40.0;
constexpr int64_t kPartsPerThread = 2;  // so that who comes late gets less

// The error of the first row that has one.
class FirstError {
 public:
  bool any() const { return any_.load(std::memory_order_relaxed); }

  void Add(int64_t row, const absl::Status& status) {
    if (status.ok()) return;
    MutexLock lock(&mutex_);
    if (!any() || row < row_) {
      row_ = row;
      status_ = status;
    }
    any_.store(true, std::memory_order_relaxed);
  }

  absl::Status Get() {
    if (!any()) return absl::OkStatus();
    MutexLock lock(&mutex_);
    return status_;
  }

 private:
  std::atomic<bool> any_{false};
  Mutex mutex_;
  int64_t row_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

// Adds the time since the last lap to an operation; does nothing without times.
class Laps {
 public:
  explicit Laps(OperationTimes* times) : times_(times) {
    if (times_ != nullptr) last_ = clock_.Now();
  }
  void Lap(size_t operation) {
    if (times_ == nullptr) return;
    const MonotonicNanos now = clock_.Now();
    times_->ns[operation] += now - std::exchange(last_, now);
  }
  void AddRows(int64_t rows) {
    if (times_ != nullptr) times_->rows += rows;
  }

 private:
  const SystemClock clock_;
  OperationTimes* times_;
  MonotonicNanos last_ = 0;
};

// All steps for the run's chunk.
absl::Status RunChunk(const Plan& plan, Workspace& workspace, const StepRun& chunk,
                      OperationTimes* times) {
  workspace.PlaceOutputs(plan, chunk);
  Laps laps(times);
  laps.AddRows(chunk.rows);
  return ForEachStep(plan, chunk, [&](size_t i, size_t segment, size_t group, StepRun& run) {
    run.buffers = workspace.buffers(0, segment, group);
    run.state = workspace.state(i, 0);
    absl::Status status = plan.steps[i]->Run(run);
    laps.Lap(i);
    return status;
  });
}

class SharedRun {
 public:
  SharedRun(const Plan& plan, const BatchRows& batch, Workspace& own, SpareWorkspaces& spares,
            ForkJoin& team, OperationTimes* times)
      : plan_(plan), batch_(batch), own_(own), spares_(spares), team_(team), times_(times) {}

  absl::Status Run() {
    place_ = team_.Enter(plan_.threads);
    absl::Status status = RunRows();
    team_.Leave(place_);
    return status;
  }

 private:
  absl::Status RunRows() {
    const int64_t together = batch_.rows / plan_.threads * plan_.threads;
    if (together > 0) {
      if (absl::Status status = ShareRows(together); !status.ok()) return status;
    }
    StepRun run;
    run.batch = &batch_;
    for (run.first_row = together; run.first_row < batch_.rows; run.first_row += run.rows) {
      run.rows = std::min(plan_.chunk_rows, batch_.rows - run.first_row);
      if (absl::Status status = ShareSteps(run); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Rows 0 .. rows - 1, each thread some of them.
  absl::Status ShareRows(int64_t rows) {
    const int64_t pieces = plan_.threads * kPartsPerThread;
    const int64_t chunk = std::clamp<int64_t>(rows / pieces, 1, plan_.chunk_rows);
    std::atomic<int64_t> next{0};
    FirstError error;
    const auto work = [&](int slot) {
      Workspace* const workspace = slot == 0 ? &own_ : spares_.Take();
      if (workspace == nullptr) return;
      StepRun run;
      run.batch = &batch_;
      while (!error.any()) {
        run.first_row = next.fetch_add(chunk, std::memory_order_relaxed);
        if (run.first_row >= rows) break;
        run.rows = std::min(chunk, rows - run.first_row);
        error.Add(run.first_row, RunChunk(plan_, *workspace, run, slot == 0 ? times_ : nullptr));
      }
      if (slot != 0) spares_.Return(workspace);
    };
    team_.Run(place_, plan_.threads, work);
    return error.Get();
  }

  // The run's chunk, step by step.
  absl::Status ShareSteps(const StepRun& chunk) {
    own_.PlaceOutputs(plan_, chunk);
    Laps laps(times_);
    laps.AddRows(chunk.rows);
    return ForEachStep(plan_, chunk, [&](size_t i, size_t segment, size_t group, StepRun& run) {
      run.buffers = own_.buffers(0, segment, group);
      run.state = own_.state(i, 0);
      const int width = UsefulWidth(i, run.rows);
      const bool shared = width > 1 && team_.Call(place_, width);
      absl::Status status =
          shared ? ShareStep(i, {segment, group}, width, run) : plan_.steps[i]->Run(run);
      laps.Lap(i);
      return status;
    });
  }

  int UsefulWidth(size_t step, int64_t rows) const {
    const double micros = plan_.step_micros[step] * static_cast<double>(rows);
    if (micros < kMinStepMicros) return 1;
    const auto useful = static_cast<int64_t>(micros / kMinThreadMicros);
    return static_cast<int>(std::min({useful, plan_.steps[step]->parts(), int64_t{plan_.threads}}));
  }

  struct Group {
    size_t segment, number;
  };

  absl::Status ShareStep(size_t index, Group group, int width, const StepRun& run) {
    const Step& step = *plan_.steps[index];
    const int64_t parts = step.parts();
    const int64_t blocks = std::min(parts, width * kPartsPerThread);
    step.Prepare(run);
    std::atomic<int64_t> next{0};
    FirstError error;
    const auto work = [&](int slot) {
      StepRun mine = run;
      mine.buffers = own_.buffers(slot, group.segment, group.number);
      mine.state = own_.state(index, slot);
      while (!error.any()) {
        const int64_t block = next.fetch_add(1, std::memory_order_relaxed);
        if (block >= blocks) break;
        const int64_t first = block * parts / blocks, last = (block + 1) * parts / blocks;
        error.Add(block, step.RunParts(mine, first, last - first));
      }
    };
    team_.Run(place_, width, work);
    return error.Get();
  }

  const Plan& plan_;
  const BatchRows& batch_;
  Workspace& own_;
  SpareWorkspaces& spares_;
  ForkJoin& team_;
  OperationTimes* const times_;
  int place_ = -1;
};

}  // namespace

bool WorthSharing(const Plan& plan, int64_t rows) {
  if (plan.threads < 2) return false;
  const auto all = static_cast<double>(rows);
  return plan.parted_micros * all >= kMinStepMicros ||
         (rows >= plan.threads && plan.row_micros * all >= kMinBatchMicros);
}

absl::Status RunAlone(const Plan& plan, const BatchRows& batch, Workspace& own,
                      OperationTimes* times) {
  StepRun run;
  run.batch = &batch;
  for (; run.first_row < batch.rows; run.first_row += run.rows) {
    run.rows = std::min(plan.chunk_rows, batch.rows - run.first_row);
    if (absl::Status status = RunChunk(plan, own, run, times); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status RunShared(const Plan& plan, const BatchRows& batch, Workspace& own,
                       SpareWorkspaces& spares, ForkJoin& team, OperationTimes* times) {
  return SharedRun(plan, batch, own, spares, team, times).Run();
}

}  // namespace bitmill
