#include "server/served_versions.h"

#include <algorithm>
#include <array>

#include "backends/batch_router.h"
#include "base/status_macros.h"
#include "kernels/roofline/roofline.h"
#include "server/routing_reports.h"

namespace bitmill {
namespace {

constexpr double kNanosPerSecond = 1e9;

double Find(const std::vector<MachineLimit>& limits, Ceiling ceiling) {
  const std::string key = CeilingKey(ceiling);
  const auto found = std::ranges::find(limits, key, &MachineLimit::key);
  return found == limits.end() ? 0 : found->per_second;
}

ModelControls ToModelControls(const BatchControls& controls) {
  return {.max_rows = controls.max_rows,
          .max_delay_ns = controls.max_delay_ns,
          .instances = controls.instances,
          .max_queue_requests = controls.max_queue_requests,
          .admit_within_ns = controls.admit_within_ns};
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

}  // namespace

MachineLimits ToMachineLimits(const std::vector<MachineLimit>& limits) {
  return {.bit_macs_per_s = Find(limits, Ceiling::kBit),
          .lowbit_int8_macs_per_s = Find(limits, Ceiling::kLowBitInt8),
          .fp32_macs_per_s = Find(limits, Ceiling::kFp32),
          .l1_bytes_per_s = Find(limits, Ceiling::kReadL1),
          .l2_bytes_per_s = Find(limits, Ceiling::kReadL2),
          .l3_bytes_per_s = Find(limits, Ceiling::kReadL3),
          .dram_bytes_per_s = Find(limits, Ceiling::kReadDram)};
}

ServedVersionsOfRepository::ServedVersionsOfRepository(const ModelRepository& repository,
                                                       Engine& engine,
                                                       const std::vector<MachineLimit>& limits)
    : repository_(repository), engine_(engine), limits_(limits) {}

double ServedVersionsOfRepository::LimitOf(const std::string& key) const {
  const auto found = std::ranges::find(limits_, key, &MachineLimit::key);
  return found == limits_.end() ? 0 : found->per_second;
}

std::vector<ObservedModel> ServedVersionsOfRepository::Ready() const {
  std::vector<ObservedModel> models;
  for (const ModelHandle& model : repository_.AllReady()) models.push_back(Observe(*model));
  return models;
}

ObservedModel ServedVersionsOfRepository::Observe(const ServedModel& model) const {
  const Executable& executable = *model.executable;
  ModelMetrics& metrics = engine_.MetricsOf(model);
  ObservedModel observed;
  observed.id = metrics.id();
  observed.metrics = &metrics;
  observed.facts = {.name = model.name,
                    .version = model.version,
                    .row_macs = static_cast<double>(executable.row_macs()),
                    .weight_bytes = executable.weight_bytes(),
                    .load_begin_ns = model.load_begin_ns,
                    .loaded_ns = engine_.LoadedAt(model)};
  for (const Operation& operation : executable.operations()) {
    const double limit = LimitOf(operation.ceiling);
    if (limit > 0) {
      observed.facts.compute_floor_ns +=
          static_cast<double>(operation.row_macs) / limit * kNanosPerSecond;
    }
  }
  for (const auto* const specs :
       {&executable.signature().inputs, &executable.signature().outputs}) {
    for (const TensorSpec& spec : *specs) observed.facts.row_bytes += spec.row_bytes;
  }
  observed.controls = ToModelControls(engine_.Controls(model));
  observed.configured = ToModelControls(engine_.ConfiguredControls(model));
  observed.objective = {.p99_ms = model.settings.slo_p99_ms,
                        .adapt = model.settings.adapt,
                        .power = model.settings.power};
  // One of the two changes the settings.
  if (model.settings.power.any() && model.settings.adapt == AdaptMode::kOn) {
    observed.objective.adapt = AdaptMode::kAdvise;
  }
  observed.operations = Operations(model);
  observed.routing = RoutingOf(executable);
  observed.division = DivisionOf(executable);
  return observed;
}

std::vector<OperationReport> ServedVersionsOfRepository::Operations(
    const ServedModel& model) const {
  const OperationTotals totals = engine_.Operations(model);
  if (totals.rows == 0) return {};
  const std::vector<Operation> operations = model.executable->operations();
  const auto rows = static_cast<double>(totals.rows);
  const auto executions = static_cast<double>(totals.executions);
  double all_ns = 0;
  for (const int64_t ns : totals.ns) all_ns += static_cast<double>(ns);
  std::vector<OperationReport> reports;
  for (size_t i = 0; i < operations.size(); ++i) {
    const Operation& operation = operations[i];
    const auto ns = static_cast<double>(totals.ns[i]);
    OperationReport report{.name = operation.name,
                           .kernel = operation.kernel,
                           .row_macs = static_cast<double>(operation.row_macs),
                           .row_bytes = static_cast<double>(operation.row_bytes),
                           .weight_bytes = static_cast<double>(operation.weight_bytes),
                           .mean_us = ns / executions * 1e-3,
                           .mean_rows = rows / executions,
                           .time_share = all_ns > 0 ? ns / all_ns : 0};
    const double macs_limit = LimitOf(operation.ceiling);
    const double bytes =
        static_cast<double>(operation.weight_bytes) * executions + report.row_bytes * rows;
    const Ceiling level = ReadLevel(static_cast<double>(operation.weight_bytes));
    const double read_limit = LimitOf(CeilingKey(level));
    if (read_limit > 0 && ns > 0) {
      const double read_ns = bytes / read_limit * kNanosPerSecond;
      const double macs_ns =
          macs_limit > 0 ? report.row_macs * rows / macs_limit * kNanosPerSecond : 0;
      report.share_of_limit = std::max(read_ns, macs_ns) / ns;
      report.bound = macs_ns >= read_ns ? "compute" : LevelName(level);
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

absl::Status ServedVersionsOfRepository::Apply(absl::string_view model, int64_t version,
                                               const ModelControls& controls) {
  BITMILL_ASSIGN_OR_RETURN(const ModelHandle handle, repository_.Find(model, version));
  engine_.SetControls(*handle, {.max_rows = controls.max_rows,
                                .max_delay_ns = controls.max_delay_ns,
                                .instances = controls.instances,
                                .max_queue_requests = controls.max_queue_requests,
                                .admit_within_ns = controls.admit_within_ns});
  return absl::OkStatus();
}

void ServedVersionsOfRepository::PreferEnergy(absl::string_view model, int64_t version,
                                              double cpu_watts, double device_watts) {
  const absl::StatusOr<ModelHandle> handle = repository_.Find(model, version);
  BatchRouter* const router = handle.ok() ? (*handle)->executable->router() : nullptr;
  if (router == nullptr) return;
  std::array<float, BatchRouter::kMostBackends> watts;
  watts.fill(static_cast<float>(device_watts));
  watts[0] = static_cast<float>(cpu_watts);
  router->PreferEnergy(watts);
}

}  // namespace bitmill
