#include "backends/parallel/divide_model.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/fallback_executable.h"
#include "backends/parallel/build_stages.h"
#include "backends/parallel/data_executable.h"
#include "backends/parallel/graph_parts.h"
#include "backends/parallel/row_shares.h"
#include "backends/parallel/split_layers.h"
#include "backends/parallel/staged_executable.h"
#include "backends/route_table.h"
#include "backends/zero_batch.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// Layers below this share of the model's time are not worth a fork and a join.
constexpr double kLeastLayerShare = 0.05;
// Cuts move while the slowest stage becomes at least so much faster, and not for ever.
constexpr double kLeastGain = 0.97;
constexpr int kMostBalancings = 3;
constexpr int kTimedRuns = 3;

class Divider {
 public:
  Divider(const DivideParts& parts, const KnownDivision* known)
      : parts_(parts),
        known_(known),
        rows_(parts.signature.batchable ? parts.limits.max_rows : 1),
        on_cpu_(std::all_of(parts.backends.begin(), parts.backends.end(),
                            [&](const Backend* b) { return b == &parts.cpu; })) {}

  absl::StatusOr<DividedModel> Whole() {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> executable,
                             Compile(parts_.lowered, *parts_.backends.front(), parts_.limits));
    return Take(std::move(executable));
  }

  absl::StatusOr<DividedModel> Data(int count) {
    if (!parts_.signature.batchable) {
      return absl::FailedPreconditionError("it has no batches whose rows could be divided");
    }
    std::vector<std::unique_ptr<Executable>> executables;
    std::vector<const Executable*> measured;
    // One for all, so that they share their weights.
    BITMILL_RETURN_IF_ERROR(Prepare(parts_.lowered));
    int64_t shared_bytes = 0;
    for (int p = 0; p < count; ++p) {
      const Backend& backend = BackendOf(static_cast<size_t>(p));
      BITMILL_ASSIGN_OR_RETURN(
          std::unique_ptr<Executable> cpu,
          prepared_.front()->MakeExecutable({rows_, ThreadsOfEach(static_cast<size_t>(count))}));
      if (p > 0) shared_bytes += cpu->weight_bytes();
      BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> executable,
                               OnBackend(parts_.lowered, backend, std::move(cpu)));
      executables.push_back(std::move(executable));
      measured.push_back(executables.back().get());
    }
    BITMILL_ASSIGN_OR_RETURN(std::vector<RouteTable> tables,
                             MeasureRoutes(measured, rows_, TrialBudget(), parts_.clock));
    return Take(std::make_unique<DataExecutable>(
        std::move(executables), std::make_unique<RowShares>(std::move(tables)), shared_bytes,
        Title(ParallelMode::kData, count), parts_.team, parts_.clock));
  }

  absl::StatusOr<DividedModel> Tensor(int count) {
    const std::vector<size_t> layers = LayersToSplit(parts_.lowered, kLeastLayerShare);
    if (layers.empty()) {
      return absl::FailedPreconditionError("it has no layer whose outputs could be divided");
    }
    BITMILL_ASSIGN_OR_RETURN(const DividedGraph divided, Divided());
    BITMILL_ASSIGN_OR_RETURN(
        StagedModel model,
        BuildTensor(divided, layers, count, rows_, [this](Graph graph, const PartRequest& request) {
          const bool whole = request.parts == 1;
          return Compile(std::move(graph), BackendOf(request.part),
                         {request.max_rows, whole ? parts_.limits.threads : 1});
        }));
    return Take(Staged(std::move(model), ParallelMode::kTensor, count));
  }

  absl::StatusOr<DividedModel> Pipeline(int count) {
    const std::vector<size_t> cuts = PossibleCuts(parts_.lowered);
    if (known_ != nullptr) return KnownPipeline(cuts);
    std::vector<double> scale(static_cast<size_t>(count), 1.0);
    const std::vector<double> micros = NodeMicros(parts_.lowered);
    if (parts_.lowered.nodes.empty()) {
      return absl::FailedPreconditionError("it has no layers that could be divided");
    }
    std::vector<NodeRange> ranges = BalancedRanges(parts_.lowered, cuts, micros, scale);
    if (ranges.size() < 2 && count > 1) {
      return absl::FailedPreconditionError("it has no place between layers where it could be cut");
    }
    scale.resize(ranges.size());
    const MonotonicNanos start = parts_.clock.Now();
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<StagedExecutable> best, PipelineOf(ranges));
    std::vector<std::unique_ptr<PreparedModel>> prepared = std::move(prepared_);
    std::vector<double> stage_ns = TimeStages(*best);
    for (int i = 0; i < kMostBalancings && !stage_ns.empty() && ranges.size() > 1; ++i) {
      if (parts_.clock.Now() - start > parts_.measure_ns) break;
      // What nodes really take there, in the units of the estimate.
      for (size_t s = 0; s < ranges.size(); ++s) {
        const double estimate =
            std::accumulate(micros.begin() + static_cast<ptrdiff_t>(ranges[s].first),
                            micros.begin() + static_cast<ptrdiff_t>(ranges[s].end), 0.0);
        if (estimate > 0 && stage_ns[s] > 0) scale[s] = stage_ns[s] / estimate;
      }
      const std::vector<NodeRange> moved = BalancedRanges(parts_.lowered, cuts, micros, scale);
      if (moved == ranges) break;
      prepared_.clear();
      BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<StagedExecutable> other, PipelineOf(moved));
      std::vector<double> other_ns = TimeStages(*other);
      if (other_ns.empty() || Slowest(other_ns) > kLeastGain * Slowest(stage_ns)) break;
      ranges = moved;
      best = std::move(other);
      prepared = std::move(prepared_);
      stage_ns = std::move(other_ns);
    }
    prepared_ = std::move(prepared);
    return Take(std::move(best), std::move(ranges));
  }

 private:
  // The next prepared model of the CPU, at the end of prepared_.
  absl::Status Prepare(Graph graph) {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<PreparedModel> prepared,
                             parts_.cpu.PrepareLowered(std::move(graph), parts_.options));
    if (known_ != nullptr) {
      if (prepared_.size() >= known_->packed.size()) return NotOfThisModel("too few parts");
      prepared->Adopt(*known_->packed[prepared_.size()]);
    }
    prepared_.push_back(std::move(prepared));
    return absl::OkStatus();
  }

  // `cpu` itself, or the device with it behind.
  absl::StatusOr<std::unique_ptr<Executable>> OnBackend(const Graph& graph, const Backend& backend,
                                                        std::unique_ptr<Executable> cpu) const {
    if (&backend == &parts_.cpu) return cpu;
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> made,
                             backend.CompileBeside(graph, *cpu, parts_.options.tune_seconds));
    return std::make_unique<FallbackExecutable>(std::move(made), std::move(cpu), graph.name);
  }

  absl::StatusOr<std::unique_ptr<Executable>> Compile(Graph graph, const Backend& backend,
                                                      const ExecutionLimits& limits) {
    const Graph copy = &backend == &parts_.cpu ? Graph{} : graph;
    BITMILL_RETURN_IF_ERROR(Prepare(std::move(graph)));
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> cpu,
                             prepared_.back()->MakeExecutable(limits));
    return OnBackend(copy, backend, std::move(cpu));
  }

  static absl::Status NotOfThisModel(absl::string_view why) {
    return absl::DataLossError(
        absl::StrCat("how it was divided is not known of this model: ", why));
  }

  absl::StatusOr<DividedModel> Take(std::unique_ptr<Executable> executable,
                                    std::vector<NodeRange> ranges = {}) {
    if (known_ != nullptr && prepared_.size() != known_->packed.size()) {
      return NotOfThisModel("too many parts");
    }
    return DividedModel{std::move(executable), std::move(ranges), std::move(prepared_)};
  }

  // Ranges come from a file.
  absl::StatusOr<DividedModel> KnownPipeline(const std::vector<size_t>& cuts) {
    const std::vector<NodeRange>& ranges = known_->ranges;
    if (ranges.empty() || ranges.size() > size_t{kMostParts}) {
      return NotOfThisModel("another number of stages");
    }
    size_t next = 0;
    for (const NodeRange& range : ranges) {
      const bool last = &range == &ranges.back();
      const size_t nodes = parts_.lowered.nodes.size();
      const bool possible =
          last ? range.end == nodes : std::binary_search(cuts.begin(), cuts.end(), range.end);
      if (range.first != next || range.end <= range.first || !possible) {
        return NotOfThisModel("other stages");
      }
      next = range.end;
    }
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<StagedExecutable> executable, PipelineOf(ranges));
    return Take(std::move(executable), ranges);
  }

  const Backend& BackendOf(size_t part) const {
    return *parts_.backends[part % parts_.backends.size()];
  }

  // Of parts that run side by side.
  int ThreadsOfEach(size_t parts) const {
    const int width = parts_.team == nullptr ? 1 : parts_.team->width();
    const int most = parts_.limits.threads > 0 ? std::min(parts_.limits.threads, width) : width;
    return std::max(1, most / static_cast<int>(parts));
  }

  // Float maps lie as they do in the whole model, unless a device has its own way.
  absl::StatusOr<DividedGraph> Divided() const {
    if (on_cpu_) return DivideForCpu(parts_.lowered);
    return DividedGraph{parts_.lowered, {}};
  }

  std::string Title(ParallelMode mode, int count) const {
    return absl::StrCat("model '", parts_.lowered.name, "', ", ParallelModeName(mode), " in ",
                        count, " parts");
  }

  std::unique_ptr<StagedExecutable> Staged(StagedModel model, ParallelMode mode, int count) const {
    model.signature = parts_.signature;
    model.title = Title(mode, count);
    return std::make_unique<StagedExecutable>(std::move(model), parts_.team);
  }

  absl::StatusOr<std::unique_ptr<StagedExecutable>> PipelineOf(
      const std::vector<NodeRange>& ranges) {
    BITMILL_ASSIGN_OR_RETURN(const DividedGraph divided, Divided());
    BITMILL_ASSIGN_OR_RETURN(
        StagedModel model,
        BuildPipeline(divided, ranges, rows_, [&](Graph graph, const PartRequest& request) {
          return Compile(std::move(graph), BackendOf(request.stage),
                         {request.max_rows, ThreadsOfEach(ranges.size())});
        }));
    return Staged(std::move(model), ParallelMode::kPipeline, static_cast<int>(ranges.size()));
  }

  RouteBudget TrialBudget() const { return {parts_.measure_ns, parts_.options.working_bytes}; }

  static double Slowest(const std::vector<double>& ns) {
    return *std::max_element(ns.begin(), ns.end());
  }

  // Of each stage, for a batch of zeros; the least of some runs. Empty when zeros mean nothing to
  // the model, or there is no memory to run it in.
  std::vector<double> TimeStages(const StagedExecutable& executable) const {
    const Executable* const tried = &executable;
    if (!CheckTrialFits({&tried, 1}, rows_, parts_.options.working_bytes).ok()) return {};
    const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
    const ZeroBatch batch(parts_.signature, rows_);
    std::vector<int64_t> ns(executable.operations().size());
    std::vector<double> least(executable.model().stages.size(), 0.0);
    for (int run = 0; run <= kTimedRuns; ++run) {
      std::fill(ns.begin(), ns.end(), 0);
      OperationTimes times{absl::MakeSpan(ns)};
      if (!executable.RunTimed(batch.rows(), *context, times).ok()) return {};
      if (run == 0) continue;  // touches memory for the first time
      size_t next = 0;
      for (size_t s = 0; s < least.size(); ++s) {
        double sum = 0.0;
        for (const StagePart& part : executable.model().stages[s].parts) {
          const size_t operations = part.executable->operations().size() + 1;
          for (size_t i = 0; i < operations; ++i) sum += static_cast<double>(ns[next++]);
        }
        least[s] = run == 1 ? sum : std::min(least[s], sum);
      }
    }
    return least;
  }

  const DivideParts& parts_;
  const KnownDivision* const known_;
  std::vector<std::unique_ptr<PreparedModel>> prepared_;
  const int64_t rows_;
  const bool on_cpu_;
};

}  // namespace

absl::StatusOr<DividedModel> CompileWhole(const DivideParts& parts, const KnownDivision* known) {
  return Divider(parts, known).Whole();
}

absl::StatusOr<DividedModel> DivideModel(const DivideParts& parts, ParallelMode mode, int count,
                                         const KnownDivision* known) {
  Divider divider(parts, known);
  switch (mode) {
    case ParallelMode::kData:
      return divider.Data(count);
    case ParallelMode::kTensor:
      return divider.Tensor(count);
    case ParallelMode::kPipeline:
      return divider.Pipeline(count);
    case ParallelMode::kOff:
    case ParallelMode::kAuto:
      break;
  }
  return absl::InternalError("a mode that does not divide");
}

}  // namespace bitmill
