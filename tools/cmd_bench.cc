#include "tools/cmd_bench.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/cpu_budget.h"
#include "base/status_macros.h"
#include "kernels/roofline/kernel_suite.h"
#include "kernels/roofline/sparse_suite.h"
#include "tools/bench/bench_result.h"
#include "tools/bench/model_bench.h"
#include "tools/bench/platform_bench.h"
#include "tools/cli.h"
#include "tools/named_file.h"
#include "tools/precision_options.h"
#include "tools/tune_option.h"

namespace bitmill {
namespace {

constexpr const char* kShippedModels = "models/repository";

absl::StatusOr<Isa> IsaOf(const std::string& name) {
  if (name == "auto") return BestIsa();
  Isa isa = Isa::kRef;
  if (!ParseIsa(name.c_str(), &isa)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--isa ", name, " is unknown; expected ", IsaChoices()));
  }
  if (!IsaAllows(BestIsa(), isa)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--isa ", name, ": this machine has ", IsaName(BestIsa()), " at most"));
  }
  return isa;
}

// What to measure: the models given, or every folder of the repository shipped with the sources.
absl::StatusOr<std::vector<std::string>> ModelsOf(const BenchOptions& options) {
  namespace fs = std::filesystem;
  std::vector<std::string> models = options.models;
  std::error_code error;
  if (models.empty()) {
    for (const fs::directory_entry& entry : fs::directory_iterator(kShippedModels, error)) {
      if (entry.is_directory(error)) models.push_back(entry.path().string());
    }
    std::sort(models.begin(), models.end());
    if (models.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("no models: name some, or run where ", kShippedModels, " is"));
    }
  }
  const auto filtered = [&options](const std::string& model) {
    return !absl::StrContains(model, options.filter);
  };
  models.erase(std::remove_if(models.begin(), models.end(), filtered), models.end());
  if (models.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no model's name contains '", options.filter, "'"));
  }
  return models;
}

absl::StatusOr<std::vector<BenchResult>> BenchModels(const BenchOptions& options, Isa isa,
                                                     const Roofline& roofline) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<std::string> models, ModelsOf(options));
  ModelBenchOptions bench;
  if (!options.batches.empty()) bench.batches = options.batches;
  bench.isa = IsaName(isa);
  bench.threads = options.threads;
  bench.precision = options.precision;
  bench.tune_seconds = options.tune_seconds;
  bench.plan_cache = ParsePlanCache(options.plan_cache);
  bench.plan_cache.min_compile_ms = 0;
  bench.seconds = options.quick ? 0.1 : 1.0;
  bench.profile_repetitions = options.quick ? 10 : 50;
  std::vector<BenchResult> results;
  ProgressBar bar("models");
  for (size_t i = 0; i < models.size(); ++i) {
    bar.SetLabel(models[i]);
    absl::StatusOr<std::vector<BenchResult>> measured = BenchModel(models[i], bench, roofline);
    if (!measured.ok()) {
      return absl::Status(measured.status().code(),
                          absl::StrCat(models[i], ": ", measured.status().message()));
    }
    for (BenchResult& result : *measured) {
      if (!options.steps && options.json.empty()) result.steps.clear();
      results.push_back(std::move(result));
    }
    bar.Update(static_cast<double>(i + 1) / static_cast<double>(models.size()));
  }
  return results;
}

absl::Status WrongKernel(const std::string& name, const std::string& kind,
                         const std::string& shape) {
  return absl::InternalError(
      absl::StrCat("kernel ", name, " on ", kind, " ", shape, " differs from the reference"));
}

// The report for `bitmill compare`.
absl::Status WriteReport(const BenchOptions& options) {
  if (options.suite != "models" || options.plan_cache != "off" || !options.json.empty() ||
      options.steps) {
    return absl::InvalidArgumentError(
        "--report is for --suite models, without --json, --steps and --plan-cache");
  }
  PlatformBenchOptions bench;
  BITMILL_ASSIGN_OR_RETURN(bench.isa, IsaOf(options.isa));
  BITMILL_ASSIGN_OR_RETURN(bench.models, ModelsOf(options));
  if (!options.batches.empty()) bench.batches = options.batches;
  bench.threads = options.threads;
  bench.precision = options.precision;
  bench.tune_seconds = options.tune_seconds;
  bench.sweep = options.sweep;
  bench.quick = options.quick;
  PlatformReport report;
  {
    ProgressBar bar("report");
    bench.progress = [&bar](double done, const std::string& label) {
      bar.SetLabel(label);
      bar.Update(done);
    };
    BITMILL_ASSIGN_OR_RETURN(report, BenchPlatform(bench));
  }
  BITMILL_RETURN_IF_ERROR(WriteNamedFile(options.report, PlatformReportJson(report)));
  std::fprintf(stderr, "%s: report of %zu models; 'bitmill compare' shows it\n",
               options.report.c_str(), report.models.size());
  return absl::OkStatus();
}

// Internal when a kernel gives another result than the reference.
absl::StatusOr<std::vector<BenchResult>> BenchKernels(const BenchOptions& options, Isa isa,
                                                      const Roofline& roofline) {
  KernelSuiteOptions suite;
  suite.isa = isa;
  suite.rooflines = {{isa, roofline}};
  suite.only_best = !options.all;
  suite.filter = options.filter;
  if (!options.batches.empty()) suite.batches = options.batches;
  if (options.quick) {
    suite.seconds = 0.02;
    suite.pairs = 11;
    suite.roofline_seconds = 0.3;
  }
  std::vector<KernelRecord> records;
  {
    ProgressBar bar("kernels");
    suite.progress = [&bar](double done, const std::string& label) {
      bar.SetLabel(label);
      bar.Update(done);
    };
    records = RunKernelSuite(suite);
  }
  std::vector<BenchResult> results;
  for (const KernelRecord& record : records) {
    if (!record.right) return WrongKernel(record.name, record.kind, record.shape);
    BenchResult& result = results.emplace_back();
    result.name = record.name;
    result.kind = record.kind;
    result.shape = record.shape;
    result.batch = record.batch;
    result.threads = record.threads;
    result.isa = IsaName(record.isa);
    result.value = record.value;
    result.unit = record.unit;
    result.ceiling = record.ceiling;
    result.share = record.share;
    result.spread = record.spread;
  }
  return results;
}

// Internal when a kernel gives another result than the reference.
absl::StatusOr<std::vector<SparseResult>> BenchSparse(const BenchOptions& options, Isa isa) {
  SparseSuiteOptions suite;
  suite.isa = isa;
  suite.only_best = !options.all;
  suite.filter = options.filter;
  if (options.quick) {
    suite.seconds = 0.02;
    suite.pairs = 11;
  }
  ProgressBar bar("pruned weights");
  suite.progress = [&bar](double done, const std::string& label) {
    bar.SetLabel(label);
    bar.Update(done);
  };
  std::vector<SparseResult> results;
  for (const SparseRecord& record : RunSparseSuite(suite)) {
    if (!record.right) return WrongKernel(record.name, record.kind, record.shape);
    SparseResult& result = results.emplace_back();
    result.name = record.name;
    result.kind = record.kind;
    result.shape = record.shape;
    result.isa = IsaName(record.isa);
    result.group_channels = record.group_channels;
    for (const SparsePoint& point : record.points) {
      result.points.push_back({point.density, point.speed, point.spread});
    }
    result.break_even = record.break_even;
    result.compiled_below = record.table_break_even;
  }
  return results;
}

// One core first; for the roofline alone, all of the budget at once as well.
absl::StatusOr<std::vector<Roofline>> MeasureCeilings(const BenchOptions& options, Isa isa) {
  std::vector<Roofline> ceilings = {MeasureRoofline(isa, options.quick ? 0.3 : 2.0)};
  if (options.suite != "roofline") return ceilings;
  BITMILL_ASSIGN_OR_RETURN(const CpuBudget budget, DetectCpuBudget({}));
  const int threads = options.threads > 1 ? options.threads : budget.cpus;
  if (threads > 1) {
    ceilings.push_back(MeasureRoofline(isa, options.quick ? 0.3 : 3.0, threads));
  }
  return ceilings;
}

std::vector<BenchResult> RooflineResults(const std::vector<Roofline>& ceilings) {
  std::vector<BenchResult> results;
  for (const Roofline& roofline : ceilings) {
    for (const CeilingInfo& info : CeilingInfos()) {
      BenchResult& result = results.emplace_back();
      result.name = info.key;
      result.kind = "ceiling";
      result.shape = info.about;
      result.threads = roofline.threads;
      result.isa = IsaName(roofline.level);
      result.value = roofline[info.ceiling] / 1e9;
      result.unit = absl::StrCat("G", info.unit);
    }
  }
  return results;
}

absl::Status BenchSuite(const BenchOptions& options, BenchReport& report) {
  if (options.suite == "roofline") {
    report.results = RooflineResults(report.ceilings);
    return absl::OkStatus();
  }
  if (options.suite != "kernels") {
    BITMILL_ASSIGN_OR_RETURN(report.results, BenchModels(options, report.isa, report.ceilings[0]));
    return absl::OkStatus();
  }
  if (options.threads != 1) {
    return absl::InvalidArgumentError("kernels run on one thread; leave --threads out");
  }
  BITMILL_ASSIGN_OR_RETURN(report.results, BenchKernels(options, report.isa, report.ceilings[0]));
  BITMILL_ASSIGN_OR_RETURN(report.sparse, BenchSparse(options, report.isa));
  if (report.results.empty() && report.sparse.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no kernel's name, kind or shape contains '", options.filter, "'"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddBenchOptions(CLI::App& command, BenchOptions& options) {
  command
      .add_option("models", options.models,
                  "Model files or folders of --suite models; the shipped ones when left out")
      ->type_name("MODEL");
  command.add_option("--suite", options.suite, "What to measure: models, kernels, roofline")
      ->check(CLI::IsMember({"models", "kernels", "roofline"}))
      ->type_name("SUITE")
      ->capture_default_str();
  command.add_option("--isa", options.isa, absl::StrCat("Instruction set: ", IsaChoices()))
      ->type_name("NAME")
      ->capture_default_str();
  command.add_option("--filter", options.filter, "Only what has this in its name")
      ->type_name("TEXT");
  command
      .add_option("--threads", options.threads,
                  "Threads: models are timed on one, on all side by side and on all at one batch; "
                  "the roofline on one and on all")
      ->check(CLI::Range(1, 1024))
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("-b,--batch", options.batches,
                  "Rows of a batch, a list (default: models 1,8,64, kernels 1,8)")
      ->delimiter(',')
      ->allow_extra_args(false)  // what follows is a model
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->type_name("ROWS[,ROWS...]");
  AddPrecisionOptions(command, options.precision);
  AddTuneOption(command, options.tune_seconds);
  command
      .add_option("--plan-cache", options.plan_cache,
                  "Keep compiled plans there, and report the time to load with and without: beside "
                  "(the model), a folder, or off")
      ->type_name("DIR|beside|off")
      ->capture_default_str();
  command.add_flag("--all", options.all, "Every kernel that runs here, not only the selected ones");
  command.add_flag("--steps", options.steps, "Show what each step of a model costs");
  command.add_flag("--quick", options.quick, "A tenth of the time, and of the trust");
  command
      .add_option("--json", options.json,
                  "Write the results as JSON; '-' for standard output instead of the table")
      ->type_name("FILE");
  command
      .add_option("--report", options.report,
                  "Write models, ceilings and machine as a report for 'bitmill compare'")
      ->type_name("FILE");
  command.add_flag("--sweep", options.sweep,
                   "With --report: also every instruction set, every precision, and tuned kernels");
  command
      .add_subcommand("roofline",
                      "The machine's limits alone: what one core can do, and all of them")
      ->fallthrough()
      ->callback([&options] { options.suite = "roofline"; });
}

absl::StatusOr<int> RunBench(const BenchOptions& options) {
  if (options.suite != "models" &&
      (options.precision.precision != "exact" || !options.precision.plain())) {
    return absl::InvalidArgumentError("--precision and --calibration are for --suite models");
  }
  if (options.plan_cache != "off" && options.precision.fast()) {
    return absl::InvalidArgumentError("--plan-cache is for --precision exact");
  }
  if (options.sweep && options.report.empty()) {
    return absl::InvalidArgumentError("--sweep is for --report");
  }
  BITMILL_RETURN_IF_ERROR(CheckNamedOutput(options.report));
  BITMILL_RETURN_IF_ERROR(CheckNamedOutput(options.json));
  if (!options.report.empty()) {
    BITMILL_RETURN_IF_ERROR(WriteReport(options));
    return kExitOk;
  }
  BenchReport report;
  BITMILL_ASSIGN_OR_RETURN(report.isa, IsaOf(options.isa));
  BITMILL_ASSIGN_OR_RETURN(report.ceilings, MeasureCeilings(options, report.isa));
  const bool json_to_stdout = options.json == "-";
  if (!json_to_stdout) {
    if (options.precision.fast() && options.precision.calibration.empty()) {
      std::fputs("precision fast without --calibration: ranges from random rows\n", stdout);
    }
    std::fputs(CeilingsText(report).c_str(), stdout);
    std::fflush(stdout);
  }
  BITMILL_RETURN_IF_ERROR(BenchSuite(options, report));
  if (json_to_stdout) {
    std::fputs(BenchJson(report).c_str(), stdout);
    return kExitOk;
  }
  if (!options.json.empty()) {
    BITMILL_RETURN_IF_ERROR(WriteNamedFile(options.json, BenchJson(report)));
  }
  if (!options.steps) {
    for (BenchResult& result : report.results) result.steps.clear();
  }
  if (options.suite == "roofline") return kExitOk;  // the ceilings are the result
  if (!report.results.empty()) {
    std::fputs(absl::StrCat("\n", ResultsText(report.results)).c_str(), stdout);
  }
  if (!report.sparse.empty()) {
    std::fputs(absl::StrCat("\n", SparseText(report.sparse)).c_str(), stdout);
  }
  return kExitOk;
}

}  // namespace bitmill
