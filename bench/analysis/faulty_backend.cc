#include "bench/analysis/faulty_backend.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

void BeBusy(int64_t us) {
  const SystemClock clock;
  const MonotonicNanos end = clock.Now() + us * 1000;
  while (clock.Now() < end) {
  }
}

// What all models' executions want, one at a time.
class SharedLock {
 public:
  // Held while busy: who holds a lock in earnest does something.
  void Hold(int64_t us) {
    MutexLock lock(&mutex_);
    BeBusy(us);
  }

 private:
  Mutex mutex_;
};

class FaultyContext final : public ExecutionContext {
 public:
  FaultyContext(const Executable& executable, int64_t most_rows)
      : inner(executable.CreateContext()) {
    const Signature& signature = executable.signature();
    const auto rows = static_cast<size_t>(most_rows);
    for (const TensorSpec& input : signature.inputs) {
      input_rows.emplace_back(rows);
      spare_inputs.emplace_back(static_cast<size_t>(input.row_bytes));
    }
    for (const TensorSpec& output : signature.outputs) {
      output_rows.emplace_back(rows);
      spare_outputs.emplace_back(static_cast<size_t>(output.row_bytes));
    }
    for (const auto& pointers : input_rows) inputs.push_back(pointers.data());
    for (const auto& pointers : output_rows) outputs.push_back(pointers.data());
  }

  std::unique_ptr<ExecutionContext> inner;
  // Of the padded batch; the rows that nobody asked for are the spare ones.
  std::vector<std::vector<const std::byte*>> input_rows;
  std::vector<std::vector<std::byte*>> output_rows;
  std::vector<std::vector<std::byte>> spare_inputs, spare_outputs;
  std::vector<const std::byte* const*> inputs;
  std::vector<std::byte* const*> outputs;
};

class FaultyExecutable final : public Executable {
 public:
  FaultyExecutable(std::unique_ptr<Executable> inner, const Faults& faults,
                   std::shared_ptr<SharedLock> lock)
      : inner_(std::move(inner)), faults_(faults), lock_(std::move(lock)) {}

  const Signature& signature() const override { return inner_->signature(); }
  int64_t max_rows() const override { return inner_->max_rows(); }
  int64_t weight_bytes() const override { return inner_->weight_bytes(); }
  int64_t arena_bytes() const override { return inner_->arena_bytes(); }
  int64_t row_macs() const override { return inner_->row_macs(); }
  std::vector<Operation> operations() const override { return inner_->operations(); }
  std::string DescribePlan() const override { return inner_->DescribePlan(); }

  int64_t computed_rows(int64_t rows) const override {
    const int64_t padded = (rows + faults_.pad_rows - 1) / faults_.pad_rows * faults_.pad_rows;
    return std::min(std::max(padded, rows), std::max(max_rows(), rows));
  }

  std::unique_ptr<ExecutionContext> CreateContext() const override {
    return std::make_unique<FaultyContext>(*inner_, max_rows());
  }

  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override {
    auto& faulty = static_cast<FaultyContext&>(context);
    BeforeComputing();
    return inner_->Run(Pad(batch, faulty), *faulty.inner);
  }
  absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                        OperationTimes& times) const override {
    auto& faulty = static_cast<FaultyContext&>(context);
    BeforeComputing();
    return inner_->RunTimed(Pad(batch, faulty), *faulty.inner, times);
  }

 private:
  void BeforeComputing() const {
    if (faults_.lock_us > 0) lock_->Hold(faults_.lock_us);
    if (faults_.busy_us > 0) BeBusy(faults_.busy_us);
  }

  BatchRows Pad(const BatchRows& batch, FaultyContext& context) const {
    const int64_t rows = computed_rows(batch.rows);
    if (rows == batch.rows) return batch;
    const auto asked = static_cast<size_t>(batch.rows);
    for (size_t i = 0; i < context.input_rows.size(); ++i) {
      std::copy_n(batch.inputs[i], asked, context.input_rows[i].begin());
      std::fill(context.input_rows[i].begin() + batch.rows, context.input_rows[i].begin() + rows,
                context.spare_inputs[i].data());
    }
    for (size_t i = 0; i < context.output_rows.size(); ++i) {
      std::copy_n(batch.outputs[i], asked, context.output_rows[i].begin());
      std::fill(context.output_rows[i].begin() + batch.rows, context.output_rows[i].begin() + rows,
                context.spare_outputs[i].data());
    }
    return {rows, context.inputs, context.outputs};
  }

  const std::unique_ptr<Executable> inner_;
  const Faults faults_;
  const std::shared_ptr<SharedLock> lock_;
};

class FaultyModel final : public PreparedModel {
 public:
  FaultyModel(std::unique_ptr<PreparedModel> inner, const Faults& faults,
              std::shared_ptr<SharedLock> lock)
      : inner_(std::move(inner)), faults_(faults), lock_(std::move(lock)) {}

  const Signature& signature() const override { return inner_->signature(); }
  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> inner, inner_->MakeExecutable(limits));
    return std::make_unique<FaultyExecutable>(std::move(inner), faults_, lock_);
  }
  std::string tuning() const override { return inner_->tuning(); }
  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    return inner_->Save(path, source);
  }
  PlanSource source() const override { return inner_->source(); }
  bool grown() const override { return inner_->grown(); }

 private:
  const std::unique_ptr<PreparedModel> inner_;
  const Faults faults_;
  const std::shared_ptr<SharedLock> lock_;
};

class FaultyBackend final : public Backend {
 public:
  FaultyBackend(std::unique_ptr<Backend> inner, const Faults& faults)
      : inner_(std::move(inner)), faults_(faults) {}

  std::string name() const override { return inner_->name(); }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    return Wrap(inner_->Prepare(graph, options));
  }
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    return Wrap(inner_->OpenPlan(path, model_owner, options));
  }

 private:
  absl::StatusOr<std::unique_ptr<PreparedModel>> Wrap(
      absl::StatusOr<std::unique_ptr<PreparedModel>> inner) const {
    if (!inner.ok()) return inner.status();
    return std::make_unique<FaultyModel>(*std::move(inner), faults_, lock_);
  }

  const std::unique_ptr<Backend> inner_;
  const Faults faults_;
  const std::shared_ptr<SharedLock> lock_ = std::make_shared<SharedLock>();
};

}  // namespace

std::unique_ptr<Backend> AddFaults(std::unique_ptr<Backend> backend, const Faults& faults) {
  return std::make_unique<FaultyBackend>(std::move(backend), faults);
}

}  // namespace bitmill
