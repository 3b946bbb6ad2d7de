#include "backends/auto_backend.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/batch_router.h"
#include "backends/route_table.h"
#include "backends/routed_executable.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

constexpr int64_t kNanosPerMilli = 1'000'000;

// What all models of the backend share.
struct AutoParts {
  const Backend& cpu;
  const Backend& device;
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
  AutoPreparedModel(AutoParts& parts, Graph lowered, std::unique_ptr<PreparedModel> cpu)
      : parts_(parts), lowered_(std::move(lowered)), cpu_(std::move(cpu)) {}

  const Signature& signature() const override { return cpu_->signature(); }
  std::string tuning() const override { return cpu_->tuning(); }

  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> cpu, cpu_->MakeExecutable(limits));
    absl::StatusOr<std::unique_ptr<Executable>> device =
        parts_.device.CompileBeside(lowered_, *cpu);
    if (!device.ok()) return Alone(std::move(cpu), device.status());
    const MonotonicNanos start = parts_.clock.Now();
    absl::StatusOr<std::vector<RouteTable>> tables = Measure(*cpu, **device);
    if (!tables.ok()) return Alone(std::move(cpu), tables.status());
    LogRoutes(*tables, parts_.clock.Now() - start);
    auto router = std::make_unique<BatchRouter>(*std::move(tables), parts_.loads, parts_.clock);
    std::vector<std::unique_ptr<Executable>> executables;
    executables.push_back(std::move(cpu));
    executables.push_back(*std::move(device));
    return std::make_unique<RoutedExecutable>(std::move(executables), std::move(router),
                                              NameOf(lowered_));
  }

  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    static_cast<void>(source);
    return absl::UnimplementedError(absl::StrCat(path, ": routed models have no plan files"));
  }

 private:
  absl::StatusOr<std::vector<RouteTable>> Measure(const Executable& cpu, const Executable& device) {
    MutexLock lock(&parts_.measuring);
    return MeasureRoutes({&cpu, &device}, cpu.max_rows(), parts_.options.measure_ns, parts_.clock);
  }

  std::unique_ptr<Executable> Alone(std::unique_ptr<Executable> cpu,
                                    const absl::Status& why) const {
    LogWarning(absl::StrCat(NameOf(lowered_), " is computed by the CPU alone: ", why.message()));
    return cpu;
  }

  void LogRoutes(const std::vector<RouteTable>& tables, int64_t ns) const {
    const RouteTable& device = tables.back();
    const int64_t from = BreakEvenRows(tables.front(), device);
    LogInfo(absl::StrCat(
        NameOf(lowered_), " is routed: ", device.backend,
        from > 0 ? absl::StrCat(" is faster from ", from, " rows on") : " is slower than the CPU",
        ", measured in ", ns / kNanosPerMilli, " ms"));
  }

  AutoParts& parts_;
  const Graph lowered_;
  const std::unique_ptr<PreparedModel> cpu_;
};

class AutoBackend final : public Backend {
 public:
  AutoBackend(const Backend& cpu, const Backend& device, const AutoOptions& options,
              const Clock& clock)
      : parts_{.cpu = cpu,
               .device = device,
               .options = options,
               .clock = clock,
               .loads = std::make_shared<BackendLoads>(std::vector<int>{options.cpu_lanes, 1}),
               .measuring = {}} {}

  std::string name() const override { return "auto"; }

  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<PreparedModel> cpu,
                             parts_.cpu.Prepare(graph, options));
    if (options.precision != Precision::kExact) {
      LogWarning(absl::StrCat(NameOf(graph), " is computed by the CPU alone: precision ",
                              PrecisionName(options.precision), " is for it alone"));
      return cpu;
    }
    BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
    return std::make_unique<AutoPreparedModel>(parts_, std::move(lowered), std::move(cpu));
  }

  // Devices need the graph, which a plan file has no more.
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    if (options.precision == Precision::kExact) {
      return Backend::OpenPlan(path, model_owner, options);
    }
    return parts_.cpu.OpenPlan(path, model_owner, options);
  }

 private:
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

std::unique_ptr<Backend> CreateAutoBackend(const Backend& cpu, const Backend* device,
                                           const AutoOptions& options, const Clock& clock) {
  if (device == nullptr) return std::make_unique<CpuAsAuto>(cpu);
  return std::make_unique<AutoBackend>(cpu, *device, options, clock);
}

}  // namespace bitmill
