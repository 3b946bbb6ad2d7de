#include "backends/auto_backend.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/batch_router.h"
#include "backends/bundle_path.h"
#include "backends/route_table.h"
#include "backends/routed_executable.h"
#include "base/check.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

constexpr int64_t kNanosPerMilli = 1'000'000;
// Of plan files. What devices make of the model is not in them, so they are good for any.
constexpr char kPurpose[] = "auto";

// What all models of the backend share.
struct AutoParts {
  const Backend& cpu;
  const std::vector<const Backend*> devices;
  const AutoOptions options;
  const Clock& clock;
  const std::shared_ptr<BackendLoads> loads;
  // Held while a model's batches are measured: two at a time would measure each other.
  Mutex measuring;
};

// For the log: the file, since the name that is in it is the same for many.
std::string NameOf(const Graph& graph) {
  return absl::StrCat("model '", EscapeForLog(graph.source.empty() ? graph.name : graph.source),
                      "'");
}

class AutoPreparedModel final : public PreparedModel {
 public:
  // `source`: of the plan file that it came from, if it did.
  AutoPreparedModel(AutoParts& parts, Graph lowered, std::unique_ptr<PreparedModel> cpu,
                    CompileOptions options, PlanSource source)
      : parts_(parts),
        lowered_(std::move(lowered)),
        cpu_(std::move(cpu)),
        options_(std::move(options)),
        source_(source) {}

  const Signature& signature() const override { return cpu_->signature(); }
  std::string tuning() const override { return cpu_->tuning(); }
  PlanSource source() const override { return source_; }
  bool grown() const override { return cpu_->grown(); }

  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> cpu, cpu_->MakeExecutable(limits));
    std::vector<std::unique_ptr<Executable>> executables;
    executables.push_back(std::move(cpu));
    std::vector<size_t> places = {0};
    for (size_t i = 0; i < parts_.devices.size(); ++i) {
      absl::StatusOr<std::unique_ptr<Executable>> device =
          parts_.devices[i]->CompileBeside(lowered_, *executables[0], options_.tune_seconds);
      if (!device.ok()) {
        LogWithout(*parts_.devices[i], device.status());
        continue;
      }
      executables.push_back(*std::move(device));
      places.push_back(i + 1);
    }
    if (executables.size() == 1) return std::move(executables[0]);
    const MonotonicNanos start = parts_.clock.Now();
    absl::StatusOr<std::vector<RouteTable>> tables = Measure(executables);
    if (!tables.ok()) {
      LogWarning(absl::StrCat(NameOf(lowered_),
                              " is computed by the CPU alone: ", tables.status().message()));
      return std::move(executables[0]);
    }
    LogRoutes(*tables, parts_.clock.Now() - start);
    auto router = std::make_unique<BatchRouter>(*std::move(tables), parts_.loads, parts_.clock,
                                                std::move(places));
    return std::make_unique<RoutedExecutable>(std::move(executables), std::move(router),
                                              NameOf(lowered_));
  }

  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    const PlanBundleParts bundle{.purpose = kPurpose,
                                 .source = source,
                                 .lowered = lowered_,
                                 .notes = "",
                                 .parts = {cpu_.get()}};
    return parts_.cpu.SaveBundle(BundlePath(path, kPurpose), bundle, options_);
  }

 private:
  absl::StatusOr<std::vector<RouteTable>> Measure(
      const std::vector<std::unique_ptr<Executable>>& executables) {
    std::vector<const Executable*> borrowed;
    borrowed.reserve(executables.size());
    for (const auto& executable : executables) borrowed.push_back(executable.get());
    MutexLock lock(&parts_.measuring);
    return MeasureRoutes(borrowed, borrowed[0]->max_rows(),
                         {parts_.options.measure_ns, options_.working_bytes}, parts_.clock);
  }

  void LogWithout(const Backend& device, const absl::Status& why) const {
    const std::string without = parts_.devices.size() == 1
                                    ? " is computed by the CPU alone: "
                                    : absl::StrCat(" is computed without ", device.name(), ": ");
    LogWarning(absl::StrCat(NameOf(lowered_), without, why.message()));
  }

  void LogRoutes(const std::vector<RouteTable>& tables, int64_t ns) const {
    std::string text = absl::StrCat(NameOf(lowered_), " is routed: ");
    for (size_t i = 1; i < tables.size(); ++i) {
      const int64_t from = BreakEvenRows(tables.front(), tables[i]);
      absl::StrAppend(
          &text, tables[i].backend,
          from > 0 ? absl::StrCat(" is faster from ", from, " rows on") : " is slower than the CPU",
          ", ");
    }
    LogInfo(absl::StrCat(text, "measured in ", ns / kNanosPerMilli, " ms"));
  }

  AutoParts& parts_;
  const Graph lowered_;
  const std::unique_ptr<PreparedModel> cpu_;
  const CompileOptions options_;
  const PlanSource source_;
};

class AutoBackend final : public Backend {
 public:
  AutoBackend(const Backend& cpu, std::vector<const Backend*> devices, const AutoOptions& options,
              const Clock& clock)
      : parts_{.cpu = cpu,
               .devices = std::move(devices),
               .options = options,
               .clock = clock,
               .loads = std::make_shared<BackendLoads>(LanesOf(parts_.devices, options)),
               .measuring = {}} {}

  std::string name() const override { return "auto"; }

  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    if (options.precision != Precision::kExact) {
      LogWarning(absl::StrCat(NameOf(graph), " is computed by the CPU alone: precision ",
                              PrecisionName(options.precision), " is for it alone"));
      return parts_.cpu.Prepare(graph, options);
    }
    BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<PreparedModel> cpu,
                             parts_.cpu.PrepareLowered(lowered, options));
    return std::make_unique<AutoPreparedModel>(parts_, std::move(lowered), std::move(cpu), options,
                                               PlanSource{});
  }

  // Devices need the graph and its weights, which the CPU's own plan file has no more.
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    if (options.precision != Precision::kExact) {
      return parts_.cpu.OpenPlan(path, model_owner, options);
    }
    const std::string bundle_path = BundlePath(path, kPurpose);
    BITMILL_ASSIGN_OR_RETURN(PlanBundle bundle,
                             parts_.cpu.OpenBundle(bundle_path, model_owner, kPurpose, options));
    absl::StatusOr<std::unique_ptr<PreparedModel>> cpu =
        parts_.cpu.PrepareLowered(bundle.lowered, options);
    if (!cpu.ok() || bundle.parts.size() != 1) {
      return absl::DataLossError(
          absl::StrCat(bundle_path, " is damaged: ",
                       cpu.ok() ? absl::StrCat("it has ", bundle.parts.size(), " parts, not 1")
                                : std::string(cpu.status().message())));
    }
    (*cpu)->Adopt(*bundle.parts.front());
    return std::make_unique<AutoPreparedModel>(parts_, std::move(bundle.lowered), *std::move(cpu),
                                               options, bundle.source);
  }

 private:
  // A device computes one batch at a time, as far as predictions go.
  static std::vector<int> LanesOf(const std::vector<const Backend*>& devices,
                                  const AutoOptions& options) {
    std::vector<int> lanes(devices.size() + 1, 1);
    lanes[0] = options.cpu_lanes;
    return lanes;
  }

  mutable AutoParts parts_;
};

// "auto" where there is nothing to choose from.
class CpuAsAuto final : public Backend {
 public:
  explicit CpuAsAuto(const Backend& cpu) : cpu_(cpu) {}
  std::string name() const override { return "auto"; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    return cpu_.Prepare(graph, options);
  }
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    return cpu_.OpenPlan(path, model_owner, options);
  }

 private:
  const Backend& cpu_;
};

}  // namespace

std::unique_ptr<Backend> CreateAutoBackend(const Backend& cpu, std::vector<const Backend*> devices,
                                           const AutoOptions& options, const Clock& clock) {
  BITMILL_CHECK(devices.size() < BatchRouter::kMostBackends);
  if (devices.empty()) return std::make_unique<CpuAsAuto>(cpu);
  return std::make_unique<AutoBackend>(cpu, std::move(devices), options, clock);
}

}  // namespace bitmill
