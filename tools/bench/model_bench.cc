#include "tools/bench/model_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <future>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/cpu/profile.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "model/reference.h"
#include "server/schedule/tbb_scheduler.h"
#include "tools/input/elements.h"
#include "tools/load/latency_stats.h"
#include "tools/local/local_model.h"

namespace bitmill {
namespace {

constexpr int kMinRepetitions = 10;
constexpr uint64_t kSeed = 1;

// Rows of one batch and where the pointers to them are kept.
class Batch {
 public:
  static absl::StatusOr<Batch> Create(const Signature& signature, int64_t rows) {
    Batch batch;
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

  Batch(Batch&&) = default;

  absl::Status Run(const Executable& executable, ExecutionContext& context) const {
    return executable.Run({rows_, input_ports_, output_ports_}, context);
  }
  const std::vector<std::vector<char>>& outputs() const { return outputs_; }

 private:
  Batch() = default;

  int64_t rows_ = 0;
  std::vector<RowSet> inputs_;
  std::vector<std::vector<char>> outputs_;
  std::vector<std::vector<const std::byte*>> input_rows_;
  std::vector<std::vector<std::byte*>> output_rows_;
  std::vector<const std::byte* const*> input_ports_;
  std::vector<std::byte* const*> output_ports_;
};

// Whether float layers, which may round differently from the reference, stand before quantizers:
// there a rounding error can turn a sign or a code, and that is no longer a rounding error.
bool RoundingTurnsCodes(const Executable& executable) {
  const std::string plan = executable.DescribePlan();
  return absl::StrContains(plan, "dnnl") &&
         (absl::StrContains(plan, "pack") || absl::StrContains(plan, "levels") ||
          absl::StrContains(plan, "Quant"));
}

// The same row through the reference kernels, with the same float layers: the same bits.
absl::Status CheckAgainstRefKernels(const Graph& graph, const std::vector<RowSet>& rows,
                                    const std::vector<NamedTensor>& got) {
  CompileOptions options;
  options.isa = IsaName(Isa::kRef);
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Executable> plain, CompileOnCpu(graph, options));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<NamedTensor> wanted, RunRows(*plain, rows, 1));
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Tensor& want = wanted[i].tensor;
    if (std::memcmp(want.data(), got[i].tensor.data(), static_cast<size_t>(want.bytes())) != 0) {
      return absl::InternalError(
          absl::StrCat("output '", got[i].name, "' is not what the reference kernels give"));
    }
  }
  return absl::OkStatus();
}

// Runs one row here and by the reference. Where rounding turns codes that comparison can only be a
// rough one, so the low-bit layers are also held against the reference kernels, bit for bit.
absl::Status CheckAgainstReference(const Graph& graph, const Executable& executable) {
  constexpr double kTolerance = 1e-3, kRoughTolerance = 0.1;
  const bool rough = RoundingTurnsCodes(executable);
  const Signature& signature = executable.signature();
  std::vector<RowSet> rows;
  std::vector<Tensor> tensors;
  std::vector<TensorView> views;
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    BITMILL_ASSIGN_OR_RETURN(RowSet set, RandomRows(signature.inputs[i], 1, kSeed));
    const Value& value = graph.value(graph.inputs[i].value);
    BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(value.dtype, value.shape));
    if (tensor.bytes() != static_cast<int64_t>(set.bytes.size())) {
      return absl::InternalError("a row of the executable has another size than the graph's");
    }
    std::copy(set.bytes.begin(), set.bytes.end(), static_cast<char*>(tensor.data()));
    tensors.push_back(std::move(tensor));
    rows.push_back(std::move(set));
  }
  views.reserve(tensors.size());
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  BITMILL_ASSIGN_OR_RETURN(const std::vector<Tensor> wanted, RunReference(graph, views));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<NamedTensor> got, RunRows(executable, rows, 1));
  if (rough) BITMILL_RETURN_IF_ERROR(CheckAgainstRefKernels(graph, rows, got));
  for (size_t i = 0; i < wanted.size(); ++i) {
    double largest = 1.0;
    for (int64_t at = 0; at < wanted[i].elements(); ++at) {
      largest = std::max(largest, std::abs(ElementAsDouble(wanted[i], at)));
    }
    for (int64_t at = 0; at < wanted[i].elements(); ++at) {
      const double want = ElementAsDouble(wanted[i], at);
      const double have = ElementAsDouble(got[i].tensor, at);
      const double allowed =
          rough ? kRoughTolerance * largest : kTolerance * std::max(1.0, std::abs(want));
      if (!(std::abs(want - have) <= allowed)) {
        return absl::InternalError(absl::StrCat("output '", got[i].name, "' element ", at, " is ",
                                                have, ", the reference says ", want));
      }
    }
  }
  return absl::OkStatus();
}

// Seconds that a row of this step costs at least.
double CeilingSeconds(const StepCost& step, const Roofline& roofline) {
  return static_cast<double>(step.macs) / roofline[step.ceiling];
}

struct Timing {
  double row_us = 0.0, spread = 0.0;
};

absl::StatusOr<Timing> TimeOneThread(const Executable& executable, const Batch& batch, int64_t rows,
                                     double seconds) {
  const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
  BITMILL_RETURN_IF_ERROR(batch.Run(executable, *context));
  const int64_t first = ThreadCpuNanos();
  BITMILL_RETURN_IF_ERROR(batch.Run(executable, *context));
  // A repetition is long enough that reading the clock does not count.
  constexpr int64_t kRepetitionNanos = 200'000;
  const int64_t once = std::max<int64_t>(1, ThreadCpuNanos() - first);
  const int64_t runs = std::max<int64_t>(1, kRepetitionNanos / once);
  std::vector<int64_t> samples;
  const int64_t end = ThreadCpuNanos() + static_cast<int64_t>(seconds * 1e9);
  while (samples.size() < kMinRepetitions || ThreadCpuNanos() < end) {
    const int64_t start = ThreadCpuNanos();
    for (int64_t run = 0; run < runs; ++run) {
      BITMILL_RETURN_IF_ERROR(batch.Run(executable, *context));
    }
    samples.push_back(ThreadCpuNanos() - start);
  }
  std::sort(samples.begin(), samples.end());
  const auto median = static_cast<double>(Percentile(samples, 0.5));
  return Timing{median / 1e3 / static_cast<double>(runs * rows),
                static_cast<double>(Percentile(samples, 0.9) - Percentile(samples, 0.1)) / median};
}

// Picoseconds of a row in one window of `seconds`: batches one after the other on this thread.
absl::StatusOr<int64_t> TimeBatches(const Executable& executable, const Batch& batch,
                                    ExecutionContext& context, int64_t rows, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration<double>(seconds);
  int64_t done = 0;
  while (Clock::now() < end) {
    BITMILL_RETURN_IF_ERROR(batch.Run(executable, context));
    done += rows;
  }
  const double elapsed_ns = std::chrono::duration<double, std::nano>(Clock::now() - start).count();
  return static_cast<int64_t>(elapsed_ns * 1e3 / static_cast<double>(done));
}

// What one of the threads that work side by side needs.
struct Lane {
  Batch batch;
  std::unique_ptr<ExecutionContext> context;
  absl::StatusOr<int64_t> row_ps = 0;
};

// The same with a batch on each worker of `scheduler`.
absl::StatusOr<int64_t> TimeSideBySide(const Executable& executable, std::vector<Lane>& lanes,
                                       Scheduler& scheduler, int64_t rows, double seconds) {
  std::vector<std::promise<void>> done(lanes.size());
  const auto flow = std::make_shared<Flow>();
  for (size_t i = 0; i < lanes.size(); ++i) {
    scheduler.Enqueue(flow, [&, i] {
      Lane& lane = lanes[i];
      lane.row_ps = TimeBatches(executable, lane.batch, *lane.context, rows, seconds);
      done[i].set_value();
    });
  }
  double rows_per_ps = 0.0;
  for (std::promise<void>& one : done) one.get_future().wait();
  for (const Lane& lane : lanes) {
    BITMILL_RETURN_IF_ERROR(lane.row_ps.status());
    rows_per_ps += 1.0 / static_cast<double>(*lane.row_ps);
  }
  return static_cast<int64_t>(1.0 / rows_per_ps);
}

struct ManyTimings {
  double alone_us = 0.0, side_by_side_us = 0.0, shared_us = 0.0;  // of a row
};

// `alone` runs on one thread, `shared` finds helpers at `scheduler`.
absl::StatusOr<ManyTimings> TimeManyThreads(const Executable& alone, const Executable& shared,
                                            TbbScheduler& scheduler, int64_t rows, double seconds) {
  constexpr int kWindows = 100;
  const double window = seconds / kWindows;
  const std::unique_ptr<ExecutionContext> own = alone.CreateContext();
  std::vector<Lane> lanes;
  for (int i = 0; i < scheduler.concurrency(); ++i) {
    BITMILL_ASSIGN_OR_RETURN(Batch batch, Batch::Create(shared.signature(), rows));
    lanes.push_back({std::move(batch), shared.CreateContext()});
  }
  Lane& first = lanes.front();
  BITMILL_RETURN_IF_ERROR(first.batch.Run(alone, *own));
  const std::vector<std::vector<char>> want = first.batch.outputs();
  BITMILL_RETURN_IF_ERROR(first.batch.Run(shared, *first.context));
  if (first.batch.outputs() != want) {
    return absl::InternalError("a shared batch has another result than one thread");
  }
  int64_t best[3] = {INT64_MAX, INT64_MAX, INT64_MAX};
  for (int i = 0; i < kWindows; ++i) {
    BITMILL_ASSIGN_OR_RETURN(const int64_t one,
                             TimeBatches(alone, first.batch, *own, rows, window));
    BITMILL_ASSIGN_OR_RETURN(const int64_t helped,
                             TimeBatches(shared, first.batch, *first.context, rows, window));
    BITMILL_ASSIGN_OR_RETURN(const int64_t all,
                             TimeSideBySide(shared, lanes, scheduler, rows, window));
    best[0] = std::min(best[0], one);
    best[1] = std::min(best[1], all);
    best[2] = std::min(best[2], helped);
  }
  return ManyTimings{static_cast<double>(best[0]) / 1e6, static_cast<double>(best[1]) / 1e6,
                     static_cast<double>(best[2]) / 1e6};
}

std::string ShapeText(const Signature& signature) {
  return absl::StrJoin(signature.inputs, " ", [](std::string* out, const TensorSpec& spec) {
    absl::StrAppend(out, ShapeToString(spec.row_shape));
  });
}

// "fmnist_tfc_w1a1" of ".../fmnist_tfc_w1a1/1/model.onnx", else the file's name.
std::string ModelName(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= path.size();) {
    const size_t slash = std::min(path.find('/', start), path.size());
    if (slash > start) parts.push_back(path.substr(start, slash - start));
    start = slash + 1;
  }
  if (parts.size() >= 3 && parts.back() == "model.onnx") return parts[parts.size() - 3];
  return parts.empty() ? path : parts.back();
}

void AddResult(BenchResult result, int threads, double row_us, std::vector<BenchResult>& results) {
  result.threads = threads;
  result.value = row_us;
  result.ceiling /= threads;
  result.share = result.ceiling / row_us;
  results.push_back(std::move(result));
}

// Milliseconds of loading the file: the median of a few, and (90th - 10th percentile) / median.
absl::StatusOr<BenchResult> TimeLoads(const std::string& file, const CompileOptions& compile,
                                      const PlanCacheOptions& cache) {
  constexpr int kLoads = 5;
  const SystemClock clock;
  std::vector<int64_t> nanos;
  for (int i = 0; i < kLoads; ++i) {
    const int64_t start = clock.Now();
    BITMILL_ASSIGN_OR_RETURN(const CompiledModel model, CompileFileOnCpu(file, compile, cache));
    nanos.push_back(clock.Now() - start);
    if (model.from_cache != cache.enabled) {
      return absl::FailedPreconditionError("the compiled plan was not kept; the log says why");
    }
  }
  std::sort(nanos.begin(), nanos.end());
  BenchResult result;
  result.kind = cache.enabled ? "load, from plan" : "load, compiled";
  result.unit = "ms";
  result.value = static_cast<double>(Percentile(nanos, 0.5)) / 1e6;
  result.spread =
      static_cast<double>(Percentile(nanos, 0.9) - Percentile(nanos, 0.1)) / 1e6 / result.value;
  return result;
}

// Without a plan, then with the one that is kept here if there is none yet.
absl::Status BenchLoads(const std::string& file, CompileOptions compile,
                        const PlanCacheOptions& cache, std::vector<BenchResult>& results) {
  BITMILL_RETURN_IF_ERROR(CompileFileOnCpu(file, compile, cache).status());
  compile.tune_seconds = 0.0;
  for (const PlanCacheOptions& one : {ParsePlanCache("off"), cache}) {
    BITMILL_ASSIGN_OR_RETURN(BenchResult result, TimeLoads(file, compile, one));
    result.name = ModelName(file);
    result.isa = compile.isa == "auto" ? IsaName(BestIsa()) : compile.isa;
    results.push_back(std::move(result));
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelInputs> SamplesOf(const Signature& signature, const PrecisionChoice& choice) {
  constexpr int64_t kRandomRows = 16;
  if (choice.fast() && choice.calibration.empty()) {
    return RandomCalibration(signature, kRandomRows);
  }
  return ReadCalibration(signature, choice);
}

}  // namespace

absl::StatusOr<std::vector<BenchResult>> BenchModel(const std::string& path,
                                                    const ModelBenchOptions& options,
                                                    const Roofline& roofline) {
  BITMILL_ASSIGN_OR_RETURN(const std::string file, FindModelFile(path));
  BITMILL_ASSIGN_OR_RETURN(const Graph graph, ReadModelFile(file));
  std::vector<BenchResult> results;
  bool checked = false;
  for (const int64_t rows : options.batches) {
    if (rows > 1 && !graph.batchable) continue;
    CompileOptions compile;
    compile.isa = options.isa;
    compile.max_rows = rows;
    compile.tune_seconds = options.tune_seconds;
    const auto compile_with =
        [&](ForkJoin* helpers) -> absl::StatusOr<std::unique_ptr<Executable>> {
      BITMILL_ASSIGN_OR_RETURN(CompiledModel compiled,
                               CompileFileOnCpu(file, compile, options.plan_cache, helpers));
      std::unique_ptr<Executable> exact = std::move(compiled.executable);
      if (!std::exchange(checked, true)) {
        BITMILL_RETURN_IF_ERROR(CheckAgainstReference(graph, *exact));
      }
      if (options.precision.plain()) {
        if (!options.precision.bf16()) return exact;
        CompileOptions bf16 = compile;
        bf16.precision = Precision::kBf16;
        return CompileOnCpu(graph, bf16, helpers);
      }
      BITMILL_ASSIGN_OR_RETURN(const ModelInputs samples,
                               SamplesOf(exact->signature(), options.precision));
      return CompileFast(graph, compile, samples, helpers);
    };
    if (results.empty() && options.plan_cache.enabled) {
      BITMILL_RETURN_IF_ERROR(BenchLoads(file, compile, options.plan_cache, results));
    }
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Executable> executable, compile_with(nullptr));
    const Signature& signature = executable->signature();
    BITMILL_ASSIGN_OR_RETURN(const std::vector<StepCost> steps,
                             ProfileSteps(*executable, rows, options.profile_repetitions));
    BenchResult result;
    result.name = ModelName(file);
    result.kind = "model";
    result.shape = ShapeText(signature);
    result.batch = rows;
    result.isa = options.isa == "auto" ? IsaName(BestIsa()) : options.isa;
    result.unit = "us/row";
    double profiled_us = 0.0;
    for (const StepCost& step : steps) {
      result.ceiling += CeilingSeconds(step, roofline) * 1e6;
      profiled_us += step.micros;
    }
    for (const StepCost& step : steps) {
      result.steps.push_back({step.name, step.kernel, step.micros / static_cast<double>(rows),
                              profiled_us > 0.0 ? step.micros / profiled_us : 0.0, step.predicted});
    }
    if (options.threads == 1) {
      BITMILL_ASSIGN_OR_RETURN(const Batch batch, Batch::Create(signature, rows));
      BITMILL_ASSIGN_OR_RETURN(const Timing timing,
                               TimeOneThread(*executable, batch, rows, options.seconds));
      result.spread = timing.spread;
      AddResult(result, 1, timing.row_us, results);
      continue;
    }
    const SystemClock clock;
    const std::unique_ptr<TbbScheduler> scheduler =
        CreateTbbScheduler({.workers = options.threads, .io_threads = 1}, clock);
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Executable> shared,
                             compile_with(&scheduler->helpers()));
    BITMILL_ASSIGN_OR_RETURN(
        const ManyTimings timings,
        TimeManyThreads(*executable, *shared, *scheduler, rows, options.seconds));
    AddResult(result, 1, timings.alone_us, results);
    result.steps.clear();
    AddResult(result, options.threads, timings.side_by_side_us, results);
    result.kind = "shared batch";
    AddResult(result, options.threads, timings.shared_us, results);
  }
  return results;
}

}  // namespace bitmill
