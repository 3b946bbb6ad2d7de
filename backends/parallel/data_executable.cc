#include "backends/parallel/data_executable.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/mutex.h"

namespace bitmill {

struct DataExecutable::Context final : ExecutionContext {
  struct Part {
    std::unique_ptr<ExecutionContext> context;
    int64_t first_row = 0, rows = 0;
    std::vector<const std::byte* const*> inputs;
    std::vector<std::byte* const*> outputs;
    absl::Status status;
  };
  std::vector<Part> parts;
};

// The parts of one batch, taken one by one.
class DataExecutable::SharedBatch {
 public:
  SharedBatch(const DataExecutable& executable, const BatchRows& batch, Context& context,
              OperationTimes* times)
      : executable_(executable), batch_(batch), context_(context), times_(times) {}

  void Work(int slot) {
    mutex_.Lock();
    while (next_ < context_.parts.size()) {
      const size_t part = next_++;
      ++running_;
      mutex_.Unlock();
      absl::Status status = executable_.RunPart(batch_, part, context_, times_);
      mutex_.Lock();
      context_.parts[part].status = std::move(status);
      if (--running_ == 0) changed_.NotifyAll();
    }
    // The caller of the helpers waits for them without sleeping; so it comes last.
    while (slot == 0 && running_ > 0) changed_.Wait(&mutex_);
    mutex_.Unlock();
  }

 private:
  const DataExecutable& executable_;
  const BatchRows& batch_;
  Context& context_;
  OperationTimes* const times_;
  Mutex mutex_;
  CondVar changed_;
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

DataExecutable::DataExecutable(std::vector<std::unique_ptr<Executable>> executables,
                               std::unique_ptr<RowShares> shares, int64_t shared_bytes,
                               std::string title, ForkJoin* team, const Clock& clock)
    : executables_(std::move(executables)),
      shares_(std::move(shares)),
      shared_bytes_(shared_bytes),
      title_(std::move(title)),
      team_(team),
      clock_(clock) {
  BITMILL_CHECK(!executables_.empty() && executables_.size() == shares_->parts());
}

std::string DataExecutable::backend_name() const {
  std::vector<std::string> names;
  names.reserve(executables_.size());
  for (const auto& executable : executables_) names.push_back(executable->backend_name());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string text;
  for (const std::string& name : names) absl::StrAppend(&text, text.empty() ? "" : ",", name);
  return text;
}

int64_t DataExecutable::weight_bytes() const {
  int64_t sum = 0;
  for (const auto& executable : executables_) sum += executable->weight_bytes();
  return sum - shared_bytes_;
}

int64_t DataExecutable::arena_bytes() const {
  int64_t sum = 0;
  for (const auto& executable : executables_) sum += executable->arena_bytes();
  return sum;
}

std::vector<MemoryUse> DataExecutable::memory(int64_t contexts) const {
  std::vector<MemoryUse> sum;
  for (const auto& executable : executables_) AddMemory(executable->memory(contexts), sum);
  AddMemory({{kHostMemory, -shared_bytes_, 0}}, sum);
  return sum;
}

ModelDivision DataExecutable::division() const {
  ModelDivision division{.mode = ParallelModeName(ParallelMode::kData)};
  std::array<int64_t, kMostParts> counts{};
  shares_->Split(max_rows(), absl::MakeSpan(counts.data(), executables_.size()));
  for (size_t p = 0; p < executables_.size(); ++p) {
    const Executable& executable = *executables_[p];
    division.parts.push_back({.name = absl::StrCat("part ", p + 1),
                              .backend = executable.backend_name(),
                              .row_macs = executable.row_macs(),
                              .weight_bytes = executable.weight_bytes(),
                              .rows = counts[p],
                              .drift = shares_->drift(p)});
  }
  return division;
}

std::unique_ptr<ExecutionContext> DataExecutable::CreateContext() const {
  auto context = std::make_unique<Context>();
  for (const auto& executable : executables_) {
    Context::Part& part = context->parts.emplace_back();
    part.context = executable->CreateContext();
    part.inputs.resize(signature().inputs.size());
    part.outputs.resize(signature().outputs.size());
  }
  return context;
}

absl::Status DataExecutable::RunPart(const BatchRows& batch, size_t part, Context& context,
                                     OperationTimes* times) const {
  Context::Part& own = context.parts[part];
  if (own.rows == 0) return absl::OkStatus();
  for (size_t i = 0; i < own.inputs.size(); ++i) own.inputs[i] = batch.inputs[i] + own.first_row;
  for (size_t i = 0; i < own.outputs.size(); ++i) {
    own.outputs[i] = batch.outputs[i] + own.first_row;
  }
  const BatchRows rows{own.rows, own.inputs, own.outputs};
  const Executable& executable = *executables_[part];
  const MonotonicNanos start = clock_.Now();
  absl::Status status = part == 0 && times != nullptr
                            ? executable.RunTimed(rows, *own.context, *times)
                            : executable.Run(rows, *own.context);
  if (status.ok()) shares_->Observe(part, own.rows, clock_.Now() - start);
  return status;
}

absl::Status DataExecutable::RunAll(const BatchRows& batch, Context& context,
                                    OperationTimes* times) const {
  if (batch.rows < 1 || batch.rows > max_rows()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a batch of ", batch.rows, " rows; 1 to ", max_rows(), " are possible"));
  }
  if (batch.inputs.size() != signature().inputs.size() ||
      batch.outputs.size() != signature().outputs.size()) {
    return absl::InternalError(absl::StrCat("a batch of ", batch.inputs.size(), " inputs and ",
                                            batch.outputs.size(), " outputs; the model has ",
                                            signature().inputs.size(), " and ",
                                            signature().outputs.size()));
  }
  std::array<int64_t, kMostParts> counts{};
  const size_t parts = executables_.size();
  shares_->Split(batch.rows, absl::MakeSpan(counts.data(), parts));
  const auto alone = [&](size_t part) {
    for (Context::Part& own : context.parts) own.rows = 0;
    context.parts[part].first_row = 0;
    context.parts[part].rows = batch.rows;
    return RunPart(batch, part, context, times);
  };
  const auto busy = std::count_if(counts.begin(), counts.end(), [](int64_t n) { return n > 0; });
  if (busy == 1 || team_ == nullptr || team_->width() < 2)
    return alone(shares_->Fastest(batch.rows));
  const int width = std::min(static_cast<int>(busy), team_->width());
  const int place = team_->Enter(width);
  if (!team_->Call(place, width)) {
    team_->Leave(place);
    return alone(shares_->Fastest(batch.rows));
  }
  int64_t first_row = 0;
  for (size_t p = 0; p < parts; ++p) {
    context.parts[p].first_row = first_row;
    context.parts[p].rows = counts[p];
    context.parts[p].status = absl::OkStatus();
    first_row += counts[p];
  }
  SharedBatch shared(*this, batch, context, times);
  team_->Run(place, width, [&shared](int slot) { shared.Work(slot); });
  team_->Leave(place);
  for (Context::Part& part : context.parts) {
    if (!part.status.ok()) return std::move(part.status);
  }
  return absl::OkStatus();
}

absl::Status DataExecutable::Run(const BatchRows& batch, ExecutionContext& context) const {
  return RunAll(batch, static_cast<Context&>(context), nullptr);
}

absl::Status DataExecutable::RunTimed(const BatchRows& batch, ExecutionContext& context,
                                      OperationTimes& times) const {
  return RunAll(batch, static_cast<Context&>(context), &times);
}

std::string DataExecutable::DescribePlan() const {
  std::string text = absl::StrCat(title_, ": rows over ", executables_.size(), " executables\n");
  for (const ModelPart& part : division().parts) {
    absl::StrAppendFormat(&text, "  %s on %s: %d of %d rows, drift %.2f\n", part.name, part.backend,
                          part.rows, max_rows(), part.drift);
  }
  for (size_t p = 0; p < executables_.size(); ++p) {
    absl::StrAppend(&text, "\npart ", p + 1, ":\n", executables_[p]->DescribePlan());
  }
  return text;
}

}  // namespace bitmill
