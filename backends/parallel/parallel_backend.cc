#include "backends/parallel/parallel_backend.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "backends/bundle_path.h"
#include "backends/parallel/choose_division.h"
#include "backends/parallel/divide_model.h"
#include "backends/parallel/parallel_options.h"
#include "backends/route_table.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

constexpr int kMostAutoParts = 4;

// What all models of the backend share.
struct SharedParts {
  std::unique_ptr<BackendSet> set;
  ForkJoin* team = nullptr;
  ParallelSettings settings;
  const Clock& clock;
  // Held while a model's parts are measured: two at a time would measure each other.
  Mutex measuring;
};

// For the log: the file, since the name that is in it is the same for many.
std::string NameOf(const Graph& graph) {
  return absl::StrCat("model '", EscapeForLog(graph.source.empty() ? graph.name : graph.source),
                      "'");
}

// How a model was divided, in the notes of its plan file; good for these limits alone, since it was
// measured with them.
struct DivisionNotes {
  ParallelMode mode = ParallelMode::kOff;  // kOff: it stays whole
  int parts = 0;
  int64_t rows = 0;
  int width = 0, threads = 0;
  std::vector<size_t> ends;  // of the ranges of a pipeline
};

std::string ToText(const DivisionNotes& notes) {
  return absl::StrCat(static_cast<int>(notes.mode), " ", notes.parts, " ", notes.rows, " ",
                      notes.width, " ", notes.threads, " ", absl::StrJoin(notes.ends, ","));
}

absl::StatusOr<DivisionNotes> ParseNotes(absl::string_view text) {
  const std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  DivisionNotes notes;
  int mode = 0;
  bool good = words.size() == 6 && absl::SimpleAtoi(words[0], &mode) &&
              absl::SimpleAtoi(words[1], &notes.parts) && absl::SimpleAtoi(words[2], &notes.rows) &&
              absl::SimpleAtoi(words[3], &notes.width) &&
              absl::SimpleAtoi(words[4], &notes.threads) && mode >= 0 &&
              mode <= static_cast<int>(ParallelMode::kPipeline) && notes.parts >= 0 &&
              notes.parts <= kMostParts && (mode == 0 || notes.parts > 0);
  if (good) {
    for (const absl::string_view end : absl::StrSplit(words[5], ',', absl::SkipEmpty())) {
      good = good && absl::SimpleAtoi(end, &notes.ends.emplace_back());
    }
  }
  if (!good) return absl::DataLossError("it does not say how the model is divided");
  notes.mode = static_cast<ParallelMode>(mode);
  return notes;
}

// What a plan file said.
struct StoredDivision {
  PlanSource source;
  DivisionNotes notes;
  KnownDivision known;
};

// What a model asks for, and where its plan file lies.
struct Wanted {
  ParallelOptions how;
  CompileOptions options;
  std::vector<const Backend*> backends;
  std::string purpose, way;
};

class ParallelPreparedModel final : public PreparedModel {
 public:
  ParallelPreparedModel(SharedParts& shared, Wanted wanted, Graph lowered, Signature signature,
                        std::optional<StoredDivision> stored)
      : shared_(shared),
        wanted_(std::move(wanted)),
        lowered_(std::move(lowered)),
        signature_(std::move(signature)),
        stored_(std::move(stored)) {}

  const Signature& signature() const override { return signature_; }
  PlanSource source() const override {
    return stored_.has_value() ? stored_->source : PlanSource{};
  }
  bool grown() const override {
    return measured_ || std::any_of(prepared_.begin(), prepared_.end(),
                                    [](const auto& part) { return part->grown(); });
  }

  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    const DivideParts parts{.lowered = lowered_,
                            .signature = signature_,
                            .cpu = shared_.set->first(),
                            .backends = wanted_.backends,
                            .options = wanted_.options,
                            .limits = limits,
                            .team = shared_.team,
                            .measure_ns = shared_.settings.measure_ns,
                            .clock = shared_.clock};
    notes_ = {.rows = limits.max_rows, .width = width(), .threads = limits.threads, .ends = {}};
    MutexLock lock(&shared_.measuring);
    BITMILL_ASSIGN_OR_RETURN(DividedModel divided, Divide(parts));
    prepared_ = std::move(divided.prepared);
    for (const NodeRange& range : divided.ranges) notes_.ends.push_back(range.end);
    return std::move(divided.executable);
  }

  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    const std::string notes = ToText(notes_);
    PlanBundleParts bundle{.purpose = wanted_.purpose,
                           .source = source,
                           .lowered = lowered_,
                           .notes = notes,
                           .parts = {}};
    for (const auto& part : prepared_) bundle.parts.push_back(part.get());
    return shared_.set->first().SaveBundle(BundlePath(path, wanted_.way), bundle, wanted_.options);
  }

 private:
  int width() const { return shared_.team == nullptr ? 1 : shared_.team->width(); }

  absl::StatusOr<DividedModel> Divide(const DivideParts& parts) {
    if (stored_.has_value()) {
      const DivisionNotes& notes = stored_->notes;
      if (notes.rows == notes_.rows && notes.width == notes_.width &&
          notes.threads == notes_.threads) {
        return DivideAsStored(parts, notes);
      }
    }
    measured_ = true;
    if (wanted_.how.mode == ParallelMode::kAuto) return Choose(parts);
    absl::StatusOr<DividedModel> divided = DivideModel(parts, wanted_.how.mode, wanted_.how.parts);
    if (divided.ok()) {
      Note(wanted_.how.mode, wanted_.how.parts);
      LogDivided(*divided, "");
    }
    if (!absl::IsFailedPrecondition(divided.status())) return divided;
    LogWarning(absl::StrCat(NameOf(lowered_), " is not divided (",
                            ParallelModeName(wanted_.how.mode), "): ", divided.status().message()));
    return CompileWhole(parts);
  }

  absl::StatusOr<DividedModel> DivideAsStored(const DivideParts& parts,
                                              const DivisionNotes& notes) {
    Note(notes.mode, notes.parts);
    const KnownDivision& known = stored_->known;
    if (notes.mode == ParallelMode::kOff) {
      LogInfo(absl::StrCat(NameOf(lowered_), " is not divided, by its plan file"));
      return CompileWhole(parts, &known);
    }
    BITMILL_ASSIGN_OR_RETURN(DividedModel divided,
                             DivideModel(parts, notes.mode, notes.parts, &known));
    LogDivided(divided, ", by its plan file");
    return divided;
  }

  void Note(ParallelMode mode, int parts) {
    notes_.mode = mode;
    notes_.parts = parts;
  }

  void LogDivided(const DividedModel& divided, absl::string_view why) const {
    LogInfo(absl::StrCat(NameOf(lowered_), " is divided, ", ParallelModeName(notes_.mode), " in ",
                         notes_.parts, " parts on ", divided.executable->backend_name(), why));
  }

  // The fastest of all ways, by the largest batch; off unless another one gains enough.
  absl::StatusOr<DividedModel> Choose(const DivideParts& parts) {
    BITMILL_ASSIGN_OR_RETURN(DividedModel whole, CompileWhole(parts));
    if (width() < 2) {
      LogInfo(absl::StrCat(NameOf(lowered_), " is not divided: there is one CPU"));
      return whole;
    }
    const int count = std::min(width(), kMostAutoParts);
    DivideParts one = parts;
    one.measure_ns /= 6;  // two measurements a mode
    std::vector<TriedDivision> tried;
    std::vector<DividedModel> models;
    for (const ParallelMode mode :
         {ParallelMode::kData, ParallelMode::kTensor, ParallelMode::kPipeline}) {
      absl::StatusOr<DividedModel> divided = DivideModel(one, mode, count);
      if (!divided.ok()) continue;
      const absl::StatusOr<std::vector<RouteTable>> tables = MeasureRoutes(
          {whole.executable.get(), divided->executable.get()}, whole.executable->max_rows(),
          {one.measure_ns, parts.options.working_bytes}, shared_.clock);
      if (!tables.ok()) continue;
      const auto gain = [&](size_t size) {
        return static_cast<double>(tables->front().ns[size]) /
               static_cast<double>(tables->back().ns[size]);
      };
      tried.push_back({.mode = mode,
                       .parts = count,
                       .gain = gain(tables->front().ns.size() - 1),
                       .one_row_gain = gain(0)});
      models.push_back(*std::move(divided));
    }
    LogInfo(
        absl::StrCat(NameOf(lowered_), " ", DescribeTried(tried, whole.executable->max_rows())));
    const std::optional<size_t> best = BestDivision(tried);
    if (!best.has_value()) return whole;
    Note(tried[*best].mode, tried[*best].parts);
    return std::move(models[*best]);
  }

  SharedParts& shared_;
  const Wanted wanted_;
  const Graph lowered_;
  const Signature signature_;
  const std::optional<StoredDivision> stored_;
  // Of the executable that was made last.
  DivisionNotes notes_;
  std::vector<std::unique_ptr<PreparedModel>> prepared_;
  bool measured_ = false;  // how to divide it
};

class ParallelBackend final : public Backend {
 public:
  ParallelBackend(std::unique_ptr<BackendSet> set, ForkJoin* team, const ParallelSettings& settings,
                  const Clock& clock)
      : shared_{std::move(set), team, settings, clock, {}} {}

  std::string name() const override { return shared_.set->name(); }

  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    BITMILL_ASSIGN_OR_RETURN(ParallelOptions how, ParseParallel(options.parallel));
    if (how.mode == ParallelMode::kOff) return shared_.set->Prepare(graph, options);
    if (options.precision == Precision::kFast) {
      LogWarning(absl::StrCat(NameOf(graph), " is not divided: precision fast changes the layers ",
                              "of whole models"));
      return shared_.set->Prepare(graph, options);
    }
    BITMILL_ASSIGN_OR_RETURN(Wanted wanted, WantedOf(std::move(how), options));
    BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
    return MakePrepared(std::move(wanted), std::move(lowered), std::nullopt);
  }

  // Parts are made from the graph, which the CPU's own plan file has without weights.
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    BITMILL_ASSIGN_OR_RETURN(ParallelOptions how, ParseParallel(options.parallel));
    if (how.mode == ParallelMode::kOff || options.precision == Precision::kFast) {
      return shared_.set->OpenPlan(path, model_owner, options);
    }
    BITMILL_ASSIGN_OR_RETURN(Wanted wanted, WantedOf(std::move(how), options));
    const std::string bundle_path = BundlePath(path, wanted.way);
    BITMILL_ASSIGN_OR_RETURN(
        PlanBundle bundle,
        shared_.set->first().OpenBundle(bundle_path, model_owner, wanted.purpose, options));
    const auto damaged = [&](const absl::Status& status) {
      return absl::DataLossError(absl::StrCat(bundle_path, " is damaged: ", status.message()));
    };
    absl::StatusOr<DivisionNotes> notes = ParseNotes(bundle.notes);
    if (!notes.ok()) return damaged(notes.status());
    StoredDivision stored{.source = bundle.source,
                          .notes = *std::move(notes),
                          .known = {.ranges = {}, .packed = std::move(bundle.parts)}};
    size_t first = 0;
    for (const size_t end : stored.notes.ends) {
      stored.known.ranges.push_back({first, end});
      first = end;
    }
    auto prepared = MakePrepared(std::move(wanted), std::move(bundle.lowered), std::move(stored));
    return prepared.ok() ? std::move(prepared) : damaged(prepared.status());
  }

 private:
  absl::StatusOr<std::unique_ptr<PreparedModel>> MakePrepared(
      Wanted wanted, Graph lowered, std::optional<StoredDivision> stored) const {
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<PreparedModel> whole,
                             shared_.set->first().PrepareLowered(lowered, wanted.options));
    return std::make_unique<ParallelPreparedModel>(shared_, std::move(wanted), std::move(lowered),
                                                   whole->signature(), std::move(stored));
  }

  absl::StatusOr<Wanted> WantedOf(ParallelOptions how, const CompileOptions& options) const {
    Wanted wanted{
        .how = std::move(how), .options = options, .backends = {}, .purpose = {}, .way = {}};
    BITMILL_ASSIGN_OR_RETURN(wanted.backends, BackendsOf(wanted.how, options));
    wanted.purpose = absl::StrCat("parallel ", options.parallel, " on");
    for (const Backend* const backend : wanted.backends) {
      absl::StrAppend(&wanted.purpose, " ", backend->name());
      const std::string device = backend->device_name();
      if (!device.empty()) absl::StrAppend(&wanted.purpose, " (", device, ")");
    }
    wanted.way = options.parallel;
    const Backend& first = *wanted.backends.front();
    if (wanted.how.backends.empty() && &first != &shared_.set->first()) {
      absl::StrAppend(&wanted.way, "-", first.name());
    }
    return wanted;
  }

  absl::StatusOr<std::vector<const Backend*>> BackendsOf(const ParallelOptions& how,
                                                         const CompileOptions& options) const {
    std::vector<std::string> names = how.backends;
    if (names.empty()) names = {options.backend.empty() ? shared_.set->name() : options.backend};
    std::vector<const Backend*> backends;
    for (std::string& name : names) {
      // Parts stay where they are; which backend computes a batch is not asked again.
      if (name == "auto" && how.backends.empty()) name = shared_.set->first().name();
      if (name == "auto") {
        return absl::InvalidArgumentError(
            "a part's backend is 'auto', expected 'cpu' or that of a device");
      }
      BITMILL_ASSIGN_OR_RETURN(const Backend* const backend, shared_.set->Find(name));
      if (backend != &shared_.set->first() && options.precision != Precision::kExact) {
        return absl::InvalidArgumentError(absl::StrCat(
            "precision ", PrecisionName(options.precision), " is for the backend cpu alone"));
      }
      backends.push_back(backend);
    }
    return backends;
  }

  mutable SharedParts shared_;
};

}  // namespace

std::unique_ptr<Backend> CreateParallelBackend(std::unique_ptr<BackendSet> set, ForkJoin* team,
                                               const ParallelSettings& settings,
                                               const Clock& clock) {
  return std::make_unique<ParallelBackend>(std::move(set), team, settings, clock);
}

}  // namespace bitmill
