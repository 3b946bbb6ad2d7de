#include "backends/parallel/staged_executable.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/parallel/pipeline_progress.h"
#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace bitmill {
namespace {

// Small batches of a pipelined batch, for each stage: so many that the stages wait little at the
// beginning and the end.
constexpr int64_t kSmallBatchesAStage = 4;

// "stage 1", or "fc part 1 of 2".
std::string PartName(const Stage& stage, size_t part) {
  const size_t parts = stage.parts.size();
  return parts == 1 ? stage.name : absl::StrCat(stage.name, " part ", part + 1, " of ", parts);
}

int64_t RoundUpToLine(int64_t bytes) {
  return (bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
}

}  // namespace

int StagedModel::between() const {
  int most = 1;
  for (const Stage& stage : stages) most = std::max(most, stage.at_a_time);
  return most + 1;
}

std::array<int, kMostParts> StagedModel::at_a_time() const {
  std::array<int, kMostParts> each{};
  for (size_t s = 0; s < stages.size(); ++s) each[s] = stages[s].at_a_time;
  return each;
}

// Of one batch at a time. Each part once for each small batch that its stage computes at a time;
// one is used by one thread at a time.
struct StagedContext final : ExecutionContext {
  struct Part {
    std::unique_ptr<ExecutionContext> context;
    std::vector<std::vector<const std::byte*>> input_rows;  // [port][row]
    std::vector<std::vector<std::byte*>> output_rows;
    std::vector<const std::byte* const*> inputs;  // [port]
    std::vector<std::byte* const*> outputs;
    std::vector<AlignedBuffer> slices;  // [port]: of outputs that do not lie as they are wanted
    // Of the batch, when it is timed.
    std::vector<int64_t> ns;
    int64_t rows = 0, all_ns = 0;
  };
  std::vector<std::vector<Part>> stages;  // [stage][number of the small batch][part]
  std::vector<AlignedBuffer> places;
  std::vector<int64_t> strides;  // of rows of a place
  std::vector<absl::Status> part_status;
};

StagedExecutable::StagedExecutable(StagedModel model, ForkJoin* team)
    : model_(std::move(model)), team_(team) {
  BITMILL_CHECK(!model_.stages.empty() && model_.chunk_rows >= 1);
  if (model_.flow == StagedModel::Flow::kPipeline) {
    BITMILL_CHECK(model_.stages.size() <= size_t{kMostParts});
  }
  for (const Stage& stage : model_.stages) {
    widest_ = std::max(widest_, stage.parts.size());
    busy_ += stage.at_a_time;
    BITMILL_CHECK(stage.at_a_time == 1 || stage.at_a_time == 2);
    for (size_t p = 0; p < stage.parts.size(); ++p) {
      const Executable& executable = *stage.parts[p].executable;
      const std::string prefix =
          stage.parts.size() == 1 ? stage.name : absl::StrCat(stage.name, " part ", p + 1);
      for (Operation operation : executable.operations()) {
        operation.name = absl::StrCat(prefix, ": ", operation.name);
        operations_.push_back(std::move(operation));
      }
      operations_.push_back({.name = absl::StrCat(prefix, " on ", executable.backend_name()),
                             .kernel = "hand over",
                             .ceiling = "",
                             .row_macs = 0,
                             .row_bytes = 0,
                             .weight_bytes = 0});
    }
  }
}

int64_t StagedExecutable::SumOfParts(int64_t (Executable::*value)() const) const {
  int64_t sum = 0;
  for (const Stage& stage : model_.stages) {
    for (const StagePart& part : stage.parts) sum += (*part.executable.*value)();
  }
  return sum;
}

std::string StagedExecutable::backend_name() const {
  std::vector<std::string> names;
  for (const Stage& stage : model_.stages) {
    for (const StagePart& part : stage.parts) {
      std::string name = part.executable->backend_name();
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        names.push_back(std::move(name));
      }
    }
  }
  std::string text;
  for (const std::string& name : names) absl::StrAppend(&text, text.empty() ? "" : ",", name);
  return text;
}

int64_t StagedExecutable::weight_bytes() const { return SumOfParts(&Executable::weight_bytes); }

int64_t StagedExecutable::row_macs() const { return SumOfParts(&Executable::row_macs); }

int64_t StagedExecutable::ValueBytes() const {
  int64_t bytes = 0;
  for (const StagePlace& place : model_.places) {
    if (place.kind != StagePlace::Kind::kValue) continue;
    bytes += RoundUpToLine(place.row_bytes) * model_.chunk_rows * place.depth;
  }
  return bytes;
}

int64_t StagedExecutable::arena_bytes() const {
  int64_t sum = ValueBytes();
  for (const Stage& stage : model_.stages) {
    for (const StagePart& part : stage.parts)
      sum += stage.at_a_time * part.executable->arena_bytes();
  }
  return sum;
}

std::vector<MemoryUse> StagedExecutable::memory(int64_t contexts) const {
  std::vector<MemoryUse> sum = {{kHostMemory, contexts * ValueBytes(), 0}};
  for (const Stage& stage : model_.stages) {
    for (const StagePart& part : stage.parts) {
      AddMemory(part.executable->memory(contexts * stage.at_a_time), sum);
    }
  }
  return sum;
}

ModelDivision StagedExecutable::division() const {
  const bool pipeline = model_.flow == StagedModel::Flow::kPipeline;
  ModelDivision division{
      .mode = ParallelModeName(pipeline ? ParallelMode::kPipeline : ParallelMode::kTensor)};
  for (const Stage& stage : model_.stages) {
    for (size_t p = 0; p < stage.parts.size(); ++p) {
      const StagePart& part = stage.parts[p];
      ModelPart& made = division.parts.emplace_back();
      made.name = PartName(stage, p);
      made.backend = part.executable->backend_name();
      made.row_macs = part.executable->row_macs();
      made.weight_bytes = part.executable->weight_bytes();
      made.rows = model_.max_rows;
      for (const StagePart::Output& output : part.outputs) {
        const StagePlace& place = model_.places[static_cast<size_t>(output.place)];
        if (place.kind == StagePlace::Kind::kValue) {
          made.handed_bytes += output.slice.blocks * output.slice.bytes;
        }
      }
    }
  }
  return division;
}

std::unique_ptr<ExecutionContext> StagedExecutable::CreateContext() const {
  auto context = std::make_unique<StagedContext>();
  for (const StagePlace& place : model_.places) {
    const bool value = place.kind == StagePlace::Kind::kValue;
    context->strides.push_back(value ? RoundUpToLine(place.row_bytes) : 0);
    context->places.emplace_back(context->strides.back() * model_.chunk_rows * place.depth);
  }
  const auto rows = static_cast<size_t>(model_.chunk_rows);
  for (const Stage& stage : model_.stages) {
    std::vector<StagedContext::Part>& parts = context->stages.emplace_back();
    for (size_t i = 0; i < static_cast<size_t>(stage.at_a_time) * stage.parts.size(); ++i) {
      const StagePart& part = stage.parts[i % stage.parts.size()];
      StagedContext::Part& own = parts.emplace_back();
      own.context = part.executable->CreateContext();
      own.ns.resize(part.executable->operations().size());
      own.input_rows.assign(part.inputs.size(), std::vector<const std::byte*>(rows));
      own.output_rows.assign(part.outputs.size(), std::vector<std::byte*>(rows));
      for (const auto& port : own.input_rows) own.inputs.push_back(port.data());
      for (const auto& port : own.output_rows) own.outputs.push_back(port.data());
      for (const StagePart::Output& output : part.outputs) {
        const bool apart = output.slice.blocks > 1;
        own.slices.emplace_back(apart ? RoundUpToLine(output.slice.blocks * output.slice.bytes) *
                                            model_.chunk_rows
                                      : 0);
      }
    }
  }
  context->part_status.resize(widest_);
  return context;
}

absl::Status StagedExecutable::RunPart(const BatchRows& batch, const Chunk& chunk, size_t stage,
                                       size_t part, StagedContext& context, bool timed) const {
  const StagePart& what = model_.stages[stage].parts[part];
  const auto turn = static_cast<size_t>(chunk.number % model_.stages[stage].at_a_time);
  StagedContext::Part& own = context.stages[stage][turn * model_.stages[stage].parts.size() + part];
  const SystemClock clock;
  const MonotonicNanos start = timed ? clock.Now() : 0;
  // The chunk's row 0 of a value between stages.
  const auto base = [&](size_t place) {
    const int64_t copy = chunk.number % model_.places[place].depth;
    return context.places[place].data() + copy * model_.chunk_rows * context.strides[place];
  };
  for (size_t i = 0; i < what.inputs.size(); ++i) {
    const auto id = static_cast<size_t>(what.inputs[i]);
    const StagePlace& place = model_.places[id];
    for (int64_t r = 0; r < chunk.rows; ++r) {
      const std::byte*& row = own.input_rows[i][static_cast<size_t>(r)];
      if (place.kind == StagePlace::Kind::kValue) {
        row = base(id) + r * context.strides[id];
      } else {
        row = batch.inputs[static_cast<size_t>(place.port)][chunk.first_row + r];
      }
    }
  }
  const auto wanted = [&](size_t output, int64_t r) {
    const auto id = static_cast<size_t>(what.outputs[output].place);
    const StagePlace& place = model_.places[id];
    std::byte* const row =
        place.kind == StagePlace::Kind::kValue
            ? base(id) + r * context.strides[id]
            : batch.outputs[static_cast<size_t>(place.port)][chunk.first_row + r];
    return row + what.outputs[output].slice.offset;
  };
  for (size_t i = 0; i < what.outputs.size(); ++i) {
    const OutputSlice& slice = what.outputs[i].slice;
    const int64_t stride = RoundUpToLine(slice.blocks * slice.bytes);
    for (int64_t r = 0; r < chunk.rows; ++r) {
      own.output_rows[i][static_cast<size_t>(r)] =
          slice.blocks > 1 ? own.slices[i].data() + r * stride : wanted(i, r);
    }
  }
  const BatchRows rows{chunk.rows, own.inputs, own.outputs};
  if (timed) {
    OperationTimes times{absl::MakeSpan(own.ns)};
    if (absl::Status status = what.executable->RunTimed(rows, *own.context, times); !status.ok()) {
      return status;
    }
    own.rows += times.rows;
  } else if (absl::Status status = what.executable->Run(rows, *own.context); !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < what.outputs.size(); ++i) {
    const OutputSlice& slice = what.outputs[i].slice;
    if (slice.blocks == 1) continue;
    for (int64_t r = 0; r < chunk.rows; ++r) {
      const std::byte* src = own.output_rows[i][static_cast<size_t>(r)];
      std::byte* dst = wanted(i, r);
      for (int64_t b = 0; b < slice.blocks; ++b, src += slice.bytes, dst += slice.pitch) {
        std::memcpy(dst, src, static_cast<size_t>(slice.bytes));
      }
    }
  }
  if (timed) own.all_ns += clock.Now() - start;
  return absl::OkStatus();
}

absl::Status StagedExecutable::RunStage(const BatchRows& batch, const Chunk& chunk, size_t stage,
                                        StagedContext& context, bool timed) const {
  for (size_t p = 0; p < model_.stages[stage].parts.size(); ++p) {
    if (absl::Status status = RunPart(batch, chunk, stage, p, context, timed); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status StagedExecutable::RunTensor(const BatchRows& batch, StagedContext& context, bool timed,
                                         int place) const {
  for (Chunk chunk; chunk.first_row < batch.rows; chunk.first_row += chunk.rows) {
    chunk.rows = std::min(model_.chunk_rows, batch.rows - chunk.first_row);
    for (size_t s = 0; s < model_.stages.size(); ++s) {
      const auto parts = static_cast<int>(model_.stages[s].parts.size());
      const int width = team_ == nullptr ? 1 : std::min(parts, team_->width());
      if (width < 2 || !team_->Call(place, width)) {
        if (absl::Status status = RunStage(batch, chunk, s, context, timed); !status.ok()) {
          return status;
        }
        continue;
      }
      std::atomic<int> next{0};
      team_->Run(place, width, [&](int /*slot*/) {
        for (int p = next.fetch_add(1); p < parts; p = next.fetch_add(1)) {
          const auto part = static_cast<size_t>(p);
          context.part_status[part] = RunPart(batch, chunk, s, part, context, timed);
        }
      });
      for (int p = 0; p < parts; ++p) {
        absl::Status& status = context.part_status[static_cast<size_t>(p)];
        if (!status.ok()) return std::exchange(status, absl::OkStatus());
      }
    }
  }
  return absl::OkStatus();
}

// One batch, cut into small ones.
class StagedExecutable::PipelineRun {
 public:
  PipelineRun(const StagedExecutable& executable, const BatchRows& batch, StagedContext& context,
              bool timed, int64_t rows, int width)
      : executable_(executable),
        batch_(batch),
        context_(context),
        timed_(timed),
        rows_(rows),
        stages_(executable.model_.stages.size()),
        progress_(executable.model_.at_a_time(), stages_, (batch.rows + rows - 1) / rows,
                  executable.model_.between(), static_cast<size_t>(width)) {}

  // What each thread does: one stage of one chunk after the other, until there is none left to
  // take.
  void Work(int slot) {
    mutex_.Lock();
    while (!over()) {
      const size_t stage = progress_.Next(static_cast<size_t>(slot));
      if (stage == stages_) {  // another thread has what is missing in hand
        changed_.Wait(&mutex_);
        continue;
      }
      Chunk chunk;
      chunk.number = progress_.Take(stage);
      chunk.first_row = chunk.number * rows_;
      chunk.rows = std::min(rows_, batch_.rows - chunk.first_row);
      ++running_;
      mutex_.Unlock();
      absl::Status status = executable_.RunStage(batch_, chunk, stage, context_, timed_);
      mutex_.Lock();
      --running_;
      progress_.SetDone(stage, chunk.number);
      if (!status.ok() && status_.ok()) status_ = std::move(status);
      changed_.NotifyAll();
    }
    // The caller of the helpers waits for them without sleeping; so it comes last.
    while (slot == 0 && running_ > 0) changed_.Wait(&mutex_);
    mutex_.Unlock();
  }

  absl::Status Take() {
    MutexLock lock(&mutex_);
    return std::move(status_);
  }

 private:
  bool over() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !status_.ok() || progress_.complete();
  }

  const StagedExecutable& executable_;
  const BatchRows& batch_;
  StagedContext& context_;
  const bool timed_;
  const int64_t rows_;
  const size_t stages_;
  Mutex mutex_;
  CondVar changed_;
  PipelineProgress progress_ ABSL_GUARDED_BY(mutex_);
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

absl::Status StagedExecutable::RunPipeline(const BatchRows& batch, StagedContext& context,
                                           bool timed, int place) const {
  const auto stages = static_cast<int>(model_.stages.size());
  const int width = team_ == nullptr ? 1 : std::min(busy_, team_->width());
  const bool shared = width > 1 && batch.rows > 1 && team_->Call(place, width);
  if (!shared) {
    for (Chunk chunk; chunk.first_row < batch.rows; chunk.first_row += chunk.rows) {
      chunk.rows = std::min(model_.chunk_rows, batch.rows - chunk.first_row);
      for (size_t s = 0; s < model_.stages.size(); ++s) {
        if (absl::Status status = RunStage(batch, chunk, s, context, timed); !status.ok()) {
          return status;
        }
      }
    }
    return absl::OkStatus();
  }
  const int64_t wanted = kSmallBatchesAStage * stages;
  const int64_t rows =
      std::clamp((batch.rows + wanted - 1) / wanted, int64_t{1}, model_.chunk_rows);
  PipelineRun run(*this, batch, context, timed, rows, width);
  team_->Run(place, width, [&run](int slot) { run.Work(slot); });
  return run.Take();
}

absl::Status StagedExecutable::RunAll(const BatchRows& batch, StagedContext& context,
                                      bool timed) const {
  if (batch.rows < 1 || batch.rows > model_.max_rows) {
    return absl::InvalidArgumentError(
        absl::StrCat("a batch of ", batch.rows, " rows; 1 to ", model_.max_rows, " are possible"));
  }
  if (batch.inputs.size() != model_.signature.inputs.size() ||
      batch.outputs.size() != model_.signature.outputs.size()) {
    return absl::InternalError(absl::StrCat("a batch of ", batch.inputs.size(), " inputs and ",
                                            batch.outputs.size(), " outputs; the model has ",
                                            model_.signature.inputs.size(), " and ",
                                            model_.signature.outputs.size()));
  }
  const bool pipeline = model_.flow == StagedModel::Flow::kPipeline;
  const int threads = pipeline ? busy_ : static_cast<int>(widest_);
  // Helpers are not called for what cannot be shared: one row of a pipeline.
  const bool shares = team_ != nullptr && threads > 1 && (!pipeline || batch.rows > 1);
  const int place = shares ? team_->Enter(std::min(threads, team_->width())) : -1;
  absl::Status status = pipeline ? RunPipeline(batch, context, timed, place)
                                 : RunTensor(batch, context, timed, place);
  if (shares) team_->Leave(place);
  return status;
}

absl::Status StagedExecutable::Run(const BatchRows& batch, ExecutionContext& context) const {
  return RunAll(batch, static_cast<StagedContext&>(context), /*timed=*/false);
}

absl::Status StagedExecutable::RunTimed(const BatchRows& batch, ExecutionContext& context,
                                        OperationTimes& times) const {
  auto& own = static_cast<StagedContext&>(context);
  for (auto& stage : own.stages) {
    for (StagedContext::Part& part : stage) {
      std::fill(part.ns.begin(), part.ns.end(), 0);
      part.rows = part.all_ns = 0;
    }
  }
  if (absl::Status status = RunAll(batch, own, /*timed=*/true); !status.ok()) return status;
  size_t next = 0;
  for (size_t s = 0; s < own.stages.size(); ++s) {
    const size_t parts = model_.stages[s].parts.size();
    for (size_t p = 0; p < parts; ++p) {
      int64_t rows = 0, rest = 0;  // of all small batches that it computes at a time
      for (size_t i = p; i < own.stages[s].size(); i += parts) {
        rows += own.stages[s][i].rows;
        rest += own.stages[s][i].all_ns;
      }
      for (size_t n = 0; n < own.stages[s][p].ns.size(); ++n) {
        int64_t ns = 0;
        for (size_t i = p; i < own.stages[s].size(); i += parts) ns += own.stages[s][i].ns[n];
        // A part may have timed some of the rows only.
        const int64_t all = rows > 0 ? ns * batch.rows / rows : 0;
        times.ns[next++] += all;
        rest -= all;
      }
      times.ns[next++] += std::max<int64_t>(rest, 0);
    }
  }
  times.rows += batch.rows;
  return absl::OkStatus();
}

std::string StagedExecutable::DescribePlan() const {
  const bool pipeline = model_.flow == StagedModel::Flow::kPipeline;
  std::string text =
      absl::StrCat(model_.title, ": ", model_.stages.size(),
                   pipeline ? " stages, each a batch ahead of the next" : " stages in turn",
                   ", batches of up to ", model_.max_rows, "\n");
  for (const ModelPart& part : division().parts) {
    absl::StrAppendFormat(&text, "  %s on %s: %.3g MMAC, %.3g kB of weights, hands over %d bytes\n",
                          part.name, part.backend, static_cast<double>(part.row_macs) / 1e6,
                          static_cast<double>(part.weight_bytes) / 1e3, part.handed_bytes);
  }
  for (const Stage& stage : model_.stages) {
    for (size_t p = 0; p < stage.parts.size(); ++p) {
      absl::StrAppend(&text, "\n", PartName(stage, p), ":\n",
                      stage.parts[p].executable->DescribePlan());
    }
  }
  return text;
}

}  // namespace bitmill
