#include "backends/device/device_backend.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/canary.h"
#include "backends/device/device_executable.h"
#include "backends/device/device_plan.h"
#include "backends/device/plan_bytes.h"
#include "backends/device/plan_writer.h"
#include "backends/device/tune_tiles.h"
#include "backends/fallback_executable.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

// Who makes bits of float inputs.
InputQuantizer QuantizerOf(const PlanDevice& device) {
  return device.wants_input_bits() ? InputQuantizer::kHost : InputQuantizer::kDevice;
}

// For batches of `max_rows`, or of the shares in which such batches are computed.
absl::StatusOr<DevicePlan> PlanFor(const PlanDevice& device, const Graph& lowered, int64_t max_rows,
                                   const ChooseConvTile& choose) {
  BITMILL_ASSIGN_OR_RETURN(DevicePlan plan,
                           BuildDevicePlan(lowered, max_rows, choose, QuantizerOf(device)));
  const int64_t rows = ShareRows(device, plan);
  if (rows == max_rows) return plan;
  return BuildDevicePlan(lowered, rows, choose, QuantizerOf(device));
}

// The plan on the device, if it computes what `cpu` does. `passed_before`: on this device.
absl::StatusOr<std::unique_ptr<Executable>> RunPlan(const std::shared_ptr<const PlanDevice>& device,
                                                    DevicePlan plan, const Executable& cpu,
                                                    bool passed_before) {
  BITMILL_ASSIGN_OR_RETURN(
      std::unique_ptr<DeviceExecutable> executable,
      DeviceExecutable::Create(device, cpu.signature(), std::move(plan), cpu.max_rows()));
  const absl::Status canary =
      CompareOnCanary(*executable, cpu, executable->plan().exact, passed_before);
  if (!canary.ok()) {
    return absl::Status(canary.code(), absl::StrCat(device->backend_name(), " device ",
                                                    device->name(), ": ", canary.message()));
  }
  return std::unique_ptr<Executable>(std::move(executable));
}

// A lowered graph, or the plan that was kept of it, and the same model for the CPU.
class DevicePreparedModel final : public PreparedModel {
 public:
  DevicePreparedModel(std::shared_ptr<const PlanDevice> device, Graph lowered,
                      std::unique_ptr<PreparedModel> cpu, double tune_seconds)
      : device_(std::move(device)),
        lowered_(std::move(lowered)),
        cpu_(std::move(cpu)),
        tune_seconds_(tune_seconds) {}
  DevicePreparedModel(std::shared_ptr<const PlanDevice> device, KeptPlan kept,
                      std::unique_ptr<PreparedModel> cpu)
      : device_(std::move(device)), cpu_(std::move(cpu)), opened_(std::move(kept)) {}

  const Signature& signature() const override { return cpu_->signature(); }
  std::string tuning() const override { return tuning_; }
  PlanSource source() const override { return cpu_->source(); }
  bool grown() const override { return cpu_->grown(); }

  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> cpu, cpu_->MakeExecutable(limits));
    BITMILL_ASSIGN_OR_RETURN(DevicePlan plan, MakePlan(cpu->max_rows()));
    BITMILL_ASSIGN_OR_RETURN(
        std::unique_ptr<Executable> executable,
        RunPlan(device_, std::move(plan), *cpu, /*passed_before=*/opened_.has_value()));
    return std::make_unique<FallbackExecutable>(
        std::move(executable), std::move(cpu),
        opened_.has_value() ? opened_->model : lowered_.name);
  }

  // The CPU's plan file; the device keeps its own plan, which has passed the canary by then.
  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    if (!opened_.has_value()) {
      if (encoded_.empty()) {
        return absl::UnimplementedError(absl::StrCat(path, ": this device plan is not kept"));
      }
      BITMILL_RETURN_IF_ERROR(device_->Keep(PlanName(source.hash), encoded_));
    }
    return cpu_->Save(path, source);
  }

 private:
  absl::StatusOr<DevicePlan> MakePlan(int64_t max_rows) {
    if (opened_.has_value()) {
      DevicePlan plan = opened_->plan;
      if (plan.max_rows == max_rows) return plan;
      plan.max_rows = max_rows;
      BITMILL_RETURN_IF_ERROR(PlaceBuffers(plan));
      return plan;
    }
    const TileTuning tiles = TuneTiles(device_, lowered_, max_rows, tune_seconds_, SystemClock());
    tuning_ = tiles.Text();
    BITMILL_ASSIGN_OR_RETURN(DevicePlan plan, PlanFor(*device_, lowered_, max_rows, tiles.choose));
    if (device_->keeps()) {
      absl::StatusOr<std::string> bytes = EncodePlan({lowered_.name, plan, tune_seconds_});
      if (bytes.ok()) encoded_ = *std::move(bytes);
    }
    return plan;
  }

  const std::shared_ptr<const PlanDevice> device_;
  const Graph lowered_;  // empty where a plan was opened
  const std::unique_ptr<PreparedModel> cpu_;
  const double tune_seconds_ = 0.0;
  const std::optional<KeptPlan> opened_;
  std::string tuning_, encoded_;
};

class DeviceBackend final : public Backend {
 public:
  DeviceBackend(std::shared_ptr<const PlanDevice> device, const Backend& cpu)
      : device_(std::move(device)), cpu_(cpu) {}

  std::string name() const override { return device_->backend_name(); }
  std::string device_name() const override { return device_->name(); }

  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    BITMILL_RETURN_IF_ERROR(CheckOptions(options));
    BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<PreparedModel> cpu,
                             cpu_.PrepareLowered(lowered, ForTheCpu(options)));
    return std::make_unique<DevicePreparedModel>(device_, std::move(lowered), std::move(cpu),
                                                 options.tune_seconds);
  }

  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    if (!device_->keeps()) {
      return absl::UnimplementedError(absl::StrCat(path, ": this device keeps no plans"));
    }
    BITMILL_RETURN_IF_ERROR(CheckOptions(options));
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<PreparedModel> cpu,
                             cpu_.OpenPlan(path, model_owner, ForTheCpu(options)));
    BITMILL_ASSIGN_OR_RETURN(const std::string bytes,
                             device_->LoadKept(PlanName(cpu->source().hash)));
    BITMILL_ASSIGN_OR_RETURN(KeptPlan kept, DecodePlan(bytes));
    if (options.tune_seconds > 0.0 && kept.tune_seconds <= 0.0) {
      return absl::NotFoundError(absl::StrCat(path, ": its tiles were not measured"));
    }
    return std::make_unique<DevicePreparedModel>(device_, std::move(kept), std::move(cpu));
  }

  absl::StatusOr<std::unique_ptr<Executable>> CompileBeside(const Graph& lowered,
                                                            const Executable& cpu,
                                                            double tune_seconds) const override {
    const int64_t max_rows = cpu.max_rows();
    const TileTuning tiles = TuneTiles(device_, lowered, max_rows, tune_seconds, SystemClock());
    if (tiles.measured > 0) {
      LogInfo(
          absl::StrCat("model '", EscapeForLog(lowered.name), "' on ", name(), ": ", tiles.Text()));
    }
    BITMILL_ASSIGN_OR_RETURN(DevicePlan plan, PlanFor(*device_, lowered, max_rows, tiles.choose));
    return RunPlan(device_, std::move(plan), cpu, /*passed_before=*/false);
  }

 private:
  absl::Status CheckOptions(const CompileOptions& options) const {
    if (options.precision != Precision::kExact) {
      return absl::InvalidArgumentError(absl::StrCat("precision ", PrecisionName(options.precision),
                                                     " is for the backend cpu alone"));
    }
    for (const int gpu : options.gpus) {
      if (gpu == device_->gpu_number()) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("GPU ", gpu, " is asked for, but the backend ", name(), " has GPU ",
                       device_->gpu_number(), " open, ", device_->name()));
    }
    return absl::OkStatus();
  }

  static CompileOptions ForTheCpu(CompileOptions options) {
    options.tune_seconds = 0;  // nothing is served by it; the time is the device's
    return options;
  }

  const std::shared_ptr<const PlanDevice> device_;
  const Backend& cpu_;
};

}  // namespace

std::unique_ptr<Backend> CreateDeviceBackend(std::shared_ptr<const PlanDevice> device,
                                             const Backend& cpu) {
  return std::make_unique<DeviceBackend>(std::move(device), cpu);
}

}  // namespace bitmill
