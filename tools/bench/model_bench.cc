#include "tools/bench/model_bench.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/cpu/profile.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "server/schedule/tbb_scheduler.h"
#include "tools/bench/model_timing.h"
#include "tools/bench/reference_check.h"
#include "tools/load/latency_stats.h"
#include "tools/local/local_model.h"

namespace bitmill {

std::string ModelNameOfFile(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= path.size();) {
    const size_t slash = std::min(path.find('/', start), path.size());
    if (slash > start) parts.push_back(path.substr(start, slash - start));
    start = slash + 1;
  }
  if (parts.size() >= 3 && parts.back() == "model.onnx") return parts[parts.size() - 3];
  return parts.empty() ? path : parts.back();
}

namespace {

// Seconds that a row of this step costs at least.
double CeilingSeconds(const StepCost& step, const Roofline& roofline) {
  return static_cast<double>(step.macs) / roofline[step.ceiling];
}

std::string ShapeText(const Signature& signature) {
  return absl::StrJoin(signature.inputs, " ", [](std::string* out, const TensorSpec& spec) {
    absl::StrAppend(out, ShapeToString(spec.row_shape));
  });
}

void AddResult(BenchResult result, int threads, const RowTimes& times,
               std::vector<BenchResult>& results) {
  const auto median = static_cast<double>(Percentile(times, 0.5));
  result.threads = threads;
  result.value = median / 1e6;
  result.spread = static_cast<double>(Percentile(times, 0.9) - Percentile(times, 0.1)) / median;
  result.ceiling /= threads;
  result.share = result.ceiling / result.value;
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
    result.name = ModelNameOfFile(file);
    result.isa = compile.isa == "auto" ? IsaName(BestIsa()) : compile.isa;
    results.push_back(std::move(result));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelInputs> BenchSamples(const Signature& signature,
                                         const PrecisionChoice& choice) {
  constexpr int64_t kRandomRows = 16;
  if (choice.fast() && choice.calibration.empty()) {
    return RandomCalibration(signature, kRandomRows);
  }
  return ReadCalibration(signature, choice);
}

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
                               BenchSamples(exact->signature(), options.precision));
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
    result.name = ModelNameOfFile(file);
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
      BITMILL_ASSIGN_OR_RETURN(const TimedBatch batch, TimedBatch::Create(signature, rows));
      BITMILL_ASSIGN_OR_RETURN(const RowTimes times,
                               TimeOneThread(*executable, batch, rows, options.seconds));
      AddResult(result, 1, times, results);
      continue;
    }
    const SystemClock clock;
    const std::unique_ptr<TbbScheduler> scheduler =
        CreateTbbScheduler({.workers = options.threads, .io_threads = 1}, clock);
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Executable> shared,
                             compile_with(&scheduler->helpers()));
    BITMILL_ASSIGN_OR_RETURN(
        const ManyTimes times,
        TimeManyThreads(*executable, *shared, *scheduler, rows, options.seconds));
    AddResult(result, 1, times.alone, results);
    result.steps.clear();
    AddResult(result, options.threads, times.side_by_side, results);
    result.kind = "shared batch";
    AddResult(result, options.threads, times.shared, results);
  }
  return results;
}

}  // namespace bitmill
