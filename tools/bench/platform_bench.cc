#include "tools/bench/platform_bench.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "kernels/roofline/roofline.h"
#include "server/analysis/energy.h"
#include "server/schedule/tbb_scheduler.h"
#include "tools/bench/model_bench.h"
#include "tools/bench/model_timing.h"
#include "tools/bench/reference_check.h"
#include "tools/compare/this_machine.h"
#include "tools/load/latency_stats.h"
#include "tools/local/local_model.h"

namespace bitmill {
namespace {

// One way to compile a model.
struct Variant {
  Isa isa = Isa::kRef;
  PrecisionChoice precision;
  double tune_seconds = 0.0;
  bool chosen = false;  // that of the options: with several threads, it is run on all of them, too
};

std::vector<Variant> VariantsOf(const PlatformBenchOptions& options) {
  std::vector<Variant> variants = {
      {options.isa, options.precision, options.tune_seconds, /*chosen=*/true}};
  if (!options.sweep) return variants;
  const auto add = [&variants](const Variant& variant) {
    const bool known = std::any_of(variants.begin(), variants.end(), [&](const Variant& other) {
      return other.isa == variant.isa && other.tune_seconds == variant.tune_seconds &&
             other.precision.precision == variant.precision.precision;
    });
    if (!known) variants.push_back(variant);
  };
  for (const Isa isa : kAllIsas) {
    if (IsaAllows(options.isa, isa)) add({isa, {}, 0.0});
  }
  add({options.isa, {"fast", options.precision.fast() ? options.precision.calibration : ""}, 0.0});
  add({options.isa, {"bf16", ""}, 0.0});
  add({options.isa, {}, options.tune_seconds > 0.0 ? options.tune_seconds : 1.0});
  return variants;
}

// A variant, compiled for a batch.
struct Candidate {
  Variant variant;
  std::unique_ptr<Executable> executable;
  TimedBatch batch;
  RowTimes alone = {};  // on one thread
};

// Measures one model; the ceilings outlive it.
class ModelRuns {
 public:
  ModelRuns(const PlatformBenchOptions& options, const std::vector<Roofline>& ceilings, int cores,
            TbbScheduler* scheduler)
      : options_(options), ceilings_(ceilings), cores_(cores), scheduler_(scheduler) {}

  absl::StatusOr<PlatformModel> Measure(const std::string& path);

 private:
  absl::StatusOr<std::unique_ptr<Executable>> Compile(const Variant& variant, int64_t rows,
                                                      ForkJoin* helpers) const;
  absl::StatusOr<std::vector<Candidate>> TimeCandidates(int64_t rows);
  absl::Status AddRuns(const Candidate& candidate, int64_t rows, std::vector<PlatformRun>& runs);
  void AddRun(PlatformRun run, const char* mode, int threads, const char* clock,
              const RowTimes& times, std::vector<PlatformRun>& runs) const;
  absl::StatusOr<std::vector<PlatformOperation>> TimeOperations(const Executable& executable,
                                                                const TimedBatch& batch,
                                                                int64_t rows, Isa isa) const;
  absl::StatusOr<PlatformEnergy> MeasureEnergy(const Executable& executable,
                                               const TimedBatch& batch, int64_t rows) const;
  double CeilingRowsPerSecond(Isa isa, int threads) const;
  double Seconds() const { return options_.quick ? 0.1 : 1.0; }

  const PlatformBenchOptions& options_;
  const std::vector<Roofline>& ceilings_;
  const int cores_;
  TbbScheduler* const scheduler_;  // null: one thread
  std::string file_;
  std::unique_ptr<Graph> graph_;
  std::vector<Operation> work_;  // of the variant that is measured
  std::vector<Isa> checked_;
};

const Roofline* Find(const std::vector<Roofline>& ceilings, Isa isa, int threads) {
  const auto found = std::find_if(ceilings.begin(), ceilings.end(), [&](const Roofline& one) {
    return one.level == isa && one.threads == threads;
  });
  return found == ceilings.end() ? nullptr : &*found;
}

double RateOf(const Roofline& roofline, const std::string& key) {
  for (const CeilingInfo& info : CeilingInfos()) {
    if (info.key == key) return roofline[info.ceiling];
  }
  return 0.0;
}

const char* LevelName(Ceiling level) {
  switch (level) {
    case Ceiling::kReadL1:
      return "L1";
    case Ceiling::kReadL2:
      return "L2";
    case Ceiling::kReadL3:
      return "L3";
    default:
      return "memory";
  }
}

double ModelRuns::CeilingRowsPerSecond(Isa isa, int threads) const {
  const Roofline* const roofline = Find(ceilings_, isa, threads);
  if (roofline == nullptr) return 0.0;
  double seconds = 0.0;
  for (const Operation& operation : work_) {
    const double rate = RateOf(*roofline, operation.ceiling);
    if (rate > 0.0) seconds += static_cast<double>(operation.row_macs) / rate;
  }
  return seconds > 0.0 ? 1.0 / seconds : 0.0;
}

absl::StatusOr<std::unique_ptr<Executable>> ModelRuns::Compile(const Variant& variant, int64_t rows,
                                                               ForkJoin* helpers) const {
  CompileOptions compile;
  compile.isa = IsaName(variant.isa);
  compile.max_rows = rows;
  compile.tune_seconds = variant.tune_seconds;
  compile.precision = variant.precision.WithoutSamples();
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> plain,
                           CompileOnCpu(*graph_, compile, helpers));
  if (variant.precision.plain()) return plain;
  BITMILL_ASSIGN_OR_RETURN(const ModelInputs samples,
                           BenchSamples(plain->signature(), variant.precision));
  return CompileFast(*graph_, compile, samples, helpers);
}

// Means over executions on one thread.
absl::StatusOr<std::vector<PlatformOperation>> ModelRuns::TimeOperations(
    const Executable& executable, const TimedBatch& batch, int64_t rows, Isa isa) const {
  const int repetitions = options_.quick ? 10 : 50;
  const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
  BITMILL_RETURN_IF_ERROR(batch.Run(executable, *context));
  std::vector<int64_t> nanos(work_.size());
  double rows_timed = 0.0, all = 0.0;
  for (int i = 0; i < repetitions; ++i) {
    OperationTimes times{absl::MakeSpan(nanos), 0};
    BITMILL_RETURN_IF_ERROR(batch.RunTimed(executable, *context, times));
    rows_timed += static_cast<double>(rows);
  }
  for (const int64_t ns : nanos) all += static_cast<double>(ns);
  const Roofline* const roofline = Find(ceilings_, isa, 1);
  std::vector<PlatformOperation> operations;
  for (size_t i = 0; i < work_.size(); ++i) {
    const Operation& work = work_[i];
    PlatformOperation& operation = operations.emplace_back();
    operation.name = work.name;
    operation.kernel = work.kernel;
    operation.us = static_cast<double>(nanos[i]) / 1e3 / rows_timed;
    operation.share = all > 0.0 ? static_cast<double>(nanos[i]) / all : 0.0;
    operation.ceiling = work.ceiling;
    operation.macs = work.row_macs;
    operation.weight_bytes = work.weight_bytes;
    const Ceiling level = ReadLevel(static_cast<double>(work.weight_bytes));
    const double rate = RateOf(*roofline, work.ceiling);
    const double macs_s = rate > 0.0 ? static_cast<double>(work.row_macs * rows) / rate : 0.0;
    const double read_s =
        static_cast<double>(work.weight_bytes + work.row_bytes * rows) / (*roofline)[level];
    operation.bound = macs_s >= read_s ? "compute" : LevelName(level);
  }
  return operations;
}

// One window on one thread, without anything else to do meanwhile. The meter's clock is CPU time:
// an estimate is that of an undisturbed thread on a machine that is idle otherwise; counters have
// no clock.
absl::StatusOr<PlatformEnergy> ModelRuns::MeasureEnergy(const Executable& executable,
                                                        const TimedBatch& batch,
                                                        int64_t rows) const {
  const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
  std::array<char, 256> buffer{};
  EnergyMeter meter("");
  const int64_t start = ThreadCpuNanos();
  meter.Update(start, 1.0, cores_, absl::MakeSpan(buffer));
  double rows_done = 0.0;
  int64_t now = start;
  while (static_cast<double>(now - start) < Seconds() * 1e9) {
    BITMILL_RETURN_IF_ERROR(batch.Run(executable, *context));
    rows_done += static_cast<double>(rows);
    now = ThreadCpuNanos();
  }
  meter.Update(now, 1.0, cores_, absl::MakeSpan(buffer));
  const EnergyReading reading = meter.reading();
  return PlatformEnergy{EnergySourceName(reading.source), reading.joules / rows_done,
                        reading.uncertainty / rows_done};
}

void ModelRuns::AddRun(PlatformRun run, const char* mode, int threads, const char* clock,
                       const RowTimes& times, std::vector<PlatformRun>& runs) const {
  run.mode = mode;
  run.threads = threads;
  run.clock = clock;
  // Side by side each of the threads takes a batch meanwhile.
  const double rows = static_cast<double>(run.batch) *
                      (run.mode == "side by side" ? static_cast<double>(threads) : 1.0);
  const auto micros = [&](double share) {
    return static_cast<double>(Percentile(times, share)) / 1e6 * rows;
  };
  run.latency = {micros(0.5), micros(0.1), micros(0.9), static_cast<int64_t>(times.size())};
  run.rows_per_s = 1e12 / static_cast<double>(Percentile(times, 0.5));
  Isa isa = Isa::kRef;
  ParseIsa(run.isa.c_str(), &isa);
  run.ceiling_rows_per_s = CeilingRowsPerSecond(isa, threads);
  run.machine_rows_per_s = CeilingRowsPerSecond(options_.isa, threads);
  if (run.ceiling_rows_per_s > 0.0) run.share = run.rows_per_s / run.ceiling_rows_per_s;
  if (run.machine_rows_per_s > 0.0) run.machine_share = run.rows_per_s / run.machine_rows_per_s;
  runs.push_back(std::move(run));
}

// All variants take turns, so that a disturbance does not hit one of them alone.
absl::StatusOr<std::vector<Candidate>> ModelRuns::TimeCandidates(int64_t rows) {
  constexpr int kRounds = 5;
  std::vector<Candidate> candidates;
  for (const Variant& variant : VariantsOf(options_)) {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> executable,
                             Compile(variant, rows, nullptr));
    const bool exact = variant.precision.precision == "exact";
    if (exact && std::find(checked_.begin(), checked_.end(), variant.isa) == checked_.end()) {
      BITMILL_RETURN_IF_ERROR(CheckAgainstReference(*graph_, *executable));
      checked_.push_back(variant.isa);
    }
    BITMILL_ASSIGN_OR_RETURN(TimedBatch batch, TimedBatch::Create(executable->signature(), rows));
    candidates.push_back({variant, std::move(executable), std::move(batch)});
  }
  for (int round = 0; round < kRounds; ++round) {
    for (Candidate& one : candidates) {
      BITMILL_ASSIGN_OR_RETURN(const RowTimes times, TimeOneThread(*one.executable, one.batch, rows,
                                                                   Seconds() / kRounds));
      one.alone.insert(one.alone.end(), times.begin(), times.end());
    }
  }
  for (Candidate& one : candidates) std::sort(one.alone.begin(), one.alone.end());
  return candidates;
}

absl::Status ModelRuns::AddRuns(const Candidate& candidate, int64_t rows,
                                std::vector<PlatformRun>& runs) {
  const Variant& variant = candidate.variant;
  const Executable& executable = *candidate.executable;
  work_ = executable.operations();
  PlatformRun run;
  run.backend = "cpu";
  run.isa = IsaName(variant.isa);
  run.batch = rows;
  run.precision = variant.precision.precision;
  run.tune_seconds = variant.tune_seconds;
  run.weight_bytes = executable.weight_bytes();
  run.arena_bytes = executable.arena_bytes();
  PlatformRun first = run;
  BITMILL_ASSIGN_OR_RETURN(first.energy, MeasureEnergy(executable, candidate.batch, rows));
  BITMILL_ASSIGN_OR_RETURN(first.operations,
                           TimeOperations(executable, candidate.batch, rows, variant.isa));
  AddRun(std::move(first), "one thread", 1, "cpu", candidate.alone, runs);
  if (scheduler_ == nullptr || !variant.chosen) return absl::OkStatus();
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Executable> shared,
                           Compile(variant, rows, &scheduler_->helpers()));
  BITMILL_ASSIGN_OR_RETURN(const ManyTimes times,
                           TimeManyThreads(executable, *shared, *scheduler_, rows, Seconds()));
  AddRun(run, "one thread", 1, "wall", times.alone, runs);
  AddRun(run, "side by side", options_.threads, "wall", times.side_by_side, runs);
  AddRun(run, "shared batch", options_.threads, "wall", times.shared, runs);
  return absl::OkStatus();
}

absl::StatusOr<PlatformModel> ModelRuns::Measure(const std::string& path) {
  BITMILL_ASSIGN_OR_RETURN(file_, FindModelFile(path));
  BITMILL_ASSIGN_OR_RETURN(Graph graph, ReadModelFile(file_));
  graph_ = std::make_unique<Graph>(std::move(graph));
  BITMILL_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file_));
  checked_.clear();
  PlatformModel model;
  model.name = ModelNameOfFile(file_);
  model.file_hash = absl::StrFormat("%016x", HashBytes(bytes.data(), bytes.size()));
  model.file_bytes = static_cast<int64_t>(bytes.size());
  for (const int64_t rows : options_.batches) {
    if (rows > 1 && !graph_->batchable) continue;
    BITMILL_ASSIGN_OR_RETURN(const std::vector<Candidate> candidates, TimeCandidates(rows));
    for (const Candidate& candidate : candidates) {
      BITMILL_RETURN_IF_ERROR(AddRuns(candidate, rows, model.runs));
    }
  }
  for (const Operation& operation : work_) model.row_macs += operation.row_macs;
  return model;
}

// Of every instruction set in use, on one thread and on all; the one that was chosen first.
std::vector<Roofline> MeasureCeilings(const PlatformBenchOptions& options) {
  std::vector<Isa> levels;
  for (const Variant& variant : VariantsOf(options)) {
    if (std::find(levels.begin(), levels.end(), variant.isa) == levels.end()) {
      levels.push_back(variant.isa);
    }
  }
  std::vector<Roofline> ceilings;
  for (const Isa level : levels) {
    ceilings.push_back(MeasureRoofline(level, options.quick ? 0.3 : 2.0));
    if (options.threads > 1 && level == options.isa) {
      ceilings.push_back(MeasureRoofline(level, options.quick ? 0.3 : 3.0, options.threads));
    }
  }
  return ceilings;
}

// A report knows models by their names.
absl::Status CheckNames(const std::vector<std::string>& paths) {
  std::map<std::string, std::string> known;
  for (const std::string& path : paths) {
    BITMILL_ASSIGN_OR_RETURN(const std::string file, FindModelFile(path));
    const auto [first, is_new] = known.emplace(ModelNameOfFile(file), path);
    if (!is_new) {
      return absl::InvalidArgumentError(
          absl::StrCat(first->second, " and ", path, " are both called '", first->first, "'"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PlatformReport> BenchPlatform(const PlatformBenchOptions& options) {
  const auto tell = [&options](double done, const std::string& label) {
    if (options.progress) options.progress(done, label);
  };
  BITMILL_RETURN_IF_ERROR(CheckNames(options.models));
  PlatformReport report;
  report.date = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  report.program_version = BITMILL_VERSION;
  report.quick = options.quick;
  report.machine = ThisMachine();
  report.backends = {"cpu"};
  tell(0.0, "ceilings");
  const std::vector<Roofline> ceilings = MeasureCeilings(options);
  for (const Roofline& roofline : ceilings) {
    PlatformCeilings& written = report.ceilings.emplace_back();
    written.isa = IsaName(roofline.level);
    written.threads = roofline.threads;
    for (const CeilingInfo& info : CeilingInfos()) written.per_s[info.key] = roofline[info.ceiling];
  }
  const SystemClock clock;
  std::unique_ptr<TbbScheduler> scheduler;
  if (options.threads > 1) {
    scheduler = CreateTbbScheduler({.workers = options.threads, .io_threads = 1}, clock);
  }
  ModelRuns runs(options, ceilings, static_cast<int>(report.machine.cores), scheduler.get());
  for (size_t i = 0; i < options.models.size(); ++i) {
    tell(static_cast<double>(i) / static_cast<double>(options.models.size()), options.models[i]);
    absl::StatusOr<PlatformModel> model = runs.Measure(options.models[i]);
    if (!model.ok()) {
      return absl::Status(model.status().code(),
                          absl::StrCat(options.models[i], ": ", model.status().message()));
    }
    report.models.push_back(*std::move(model));
  }
  return report;
}

}  // namespace bitmill
