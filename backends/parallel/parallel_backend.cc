#include "backends/parallel/parallel_backend.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/parallel/divide_model.h"
#include "backends/parallel/parallel_options.h"
#include "backends/route_table.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

// What dividing must gain where it is a choice: less is noise, and one row must not pay for it.
constexpr double kLeastGain = 1.1, kLeastGainOfOneRow = 0.95;
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

class ParallelPreparedModel final : public PreparedModel {
 public:
  ParallelPreparedModel(SharedParts& shared, ParallelOptions how, CompileOptions options,
                        std::vector<const Backend*> backends, Graph lowered, Signature signature)
      : shared_(shared),
        how_(std::move(how)),
        options_(std::move(options)),
        backends_(std::move(backends)),
        lowered_(std::move(lowered)),
        signature_(std::move(signature)) {}

  const Signature& signature() const override { return signature_; }

  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    const DivideParts parts{.lowered = lowered_,
                            .signature = signature_,
                            .cpu = shared_.set->first(),
                            .backends = backends_,
                            .options = options_,
                            .limits = limits,
                            .team = shared_.team,
                            .measure_ns = shared_.settings.measure_ns,
                            .clock = shared_.clock};
    MutexLock lock(&shared_.measuring);
    if (how_.mode == ParallelMode::kAuto) return Choose(parts);
    absl::StatusOr<std::unique_ptr<Executable>> divided = DivideModel(parts, how_.mode, how_.parts);
    if (divided.ok()) {
      LogInfo(absl::StrCat(NameOf(lowered_), " is divided, ", ParallelModeName(how_.mode), " in ",
                           how_.parts, " parts on ", (*divided)->backend_name()));
    }
    if (!absl::IsFailedPrecondition(divided.status())) return divided;
    LogWarning(absl::StrCat(NameOf(lowered_), " is not divided (", ParallelModeName(how_.mode),
                            "): ", divided.status().message()));
    return CompileWhole(parts);
  }

  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    static_cast<void>(source);
    return absl::UnimplementedError(absl::StrCat(path, ": divided models have no plan files"));
  }

 private:
  // The fastest of all ways, by the largest batch; off unless another one gains enough.
  absl::StatusOr<std::unique_ptr<Executable>> Choose(const DivideParts& parts) {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> best, CompileWhole(parts));
    const int width = shared_.team == nullptr ? 1 : shared_.team->width();
    if (width < 2) {
      LogInfo(absl::StrCat(NameOf(lowered_), " is not divided: there is one CPU"));
      return best;
    }
    const int count = std::min(width, kMostAutoParts);
    DivideParts one = parts;
    one.measure_ns /= 6;  // two measurements a mode
    const std::unique_ptr<Executable> whole = std::move(best);
    std::string tried;
    double best_gain = kLeastGain;
    for (const ParallelMode mode :
         {ParallelMode::kData, ParallelMode::kTensor, ParallelMode::kPipeline}) {
      absl::StatusOr<std::unique_ptr<Executable>> divided = DivideModel(one, mode, count);
      if (!divided.ok()) continue;
      const absl::StatusOr<std::vector<RouteTable>> tables = MeasureRoutes(
          {whole.get(), divided->get()}, whole->max_rows(), one.measure_ns, shared_.clock);
      if (!tables.ok()) continue;
      const auto gain = [&](size_t size) {
        return static_cast<double>(tables->front().ns[size]) /
               static_cast<double>(tables->back().ns[size]);
      };
      const double last = gain(tables->front().ns.size() - 1);
      absl::StrAppendFormat(&tried, "%s%s:%d %.2f times as fast", tried.empty() ? "" : ", ",
                            ParallelModeName(mode), count, last);
      if (last < best_gain || gain(0) < kLeastGainOfOneRow) continue;
      best_gain = last;
      best = *std::move(divided);
      chosen_ = absl::StrCat(ParallelModeName(mode), ":", count);
    }
    LogInfo(absl::StrCat(NameOf(lowered_), best == nullptr ? " is not divided" : " is divided, ",
                         chosen_, "; of ", whole->max_rows(), " rows: ", tried));
    if (best != nullptr) return best;
    return CompileWhole(parts);
  }

  SharedParts& shared_;
  const ParallelOptions how_;
  const CompileOptions options_;
  const std::vector<const Backend*> backends_;
  const Graph lowered_;
  const Signature signature_;
  std::string chosen_;
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
    BITMILL_ASSIGN_OR_RETURN(std::vector<const Backend*> backends, BackendsOf(how, options));
    BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<PreparedModel> whole,
                             shared_.set->first().PrepareLowered(lowered, options));
    return std::make_unique<ParallelPreparedModel>(shared_, std::move(how), options,
                                                   std::move(backends), std::move(lowered),
                                                   whole->signature());
  }

  // Parts need the graph, which a plan file has no more.
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    BITMILL_ASSIGN_OR_RETURN(const ParallelOptions how, ParseParallel(options.parallel));
    if (how.mode == ParallelMode::kOff || options.precision == Precision::kFast) {
      return shared_.set->OpenPlan(path, model_owner, options);
    }
    return Backend::OpenPlan(path, model_owner, options);
  }

 private:
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
