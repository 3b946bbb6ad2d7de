#include "backends/device/device_backend.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/canary.h"
#include "backends/device/device_executable.h"
#include "backends/device/device_plan.h"
#include "backends/fallback_executable.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

// The model on the device alone, if it computes what `cpu` does.
absl::StatusOr<std::unique_ptr<Executable>> MakeDeviceExecutable(
    const std::shared_ptr<const PlanDevice>& device, const Graph& lowered, const Executable& cpu) {
  const InputQuantizer quantizer =
      device->wants_input_bits() ? InputQuantizer::kHost : InputQuantizer::kDevice;
  BITMILL_ASSIGN_OR_RETURN(
      DevicePlan plan, BuildDevicePlan(lowered, cpu.max_rows(), device->conv_tiles(), quantizer));
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<DeviceExecutable> executable,
                           DeviceExecutable::Create(device, cpu.signature(), std::move(plan)));
  const absl::Status canary = CompareOnCanary(*executable, cpu, executable->plan().exact);
  if (!canary.ok()) {
    return absl::Status(canary.code(), absl::StrCat(device->backend_name(), " device ",
                                                    device->name(), ": ", canary.message()));
  }
  return std::unique_ptr<Executable>(std::move(executable));
}

// A lowered graph, and the same model for the CPU.
class DevicePreparedModel final : public PreparedModel {
 public:
  DevicePreparedModel(std::shared_ptr<const PlanDevice> device, Graph lowered,
                      std::unique_ptr<PreparedModel> cpu)
      : device_(std::move(device)), lowered_(std::move(lowered)), cpu_(std::move(cpu)) {}

  const Signature& signature() const override { return cpu_->signature(); }

  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> cpu, cpu_->MakeExecutable(limits));
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> executable,
                             MakeDeviceExecutable(device_, lowered_, *cpu));
    return std::make_unique<FallbackExecutable>(std::move(executable), std::move(cpu),
                                                lowered_.name);
  }

  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    static_cast<void>(source);
    return absl::UnimplementedError(absl::StrCat(path, ": device plans are not kept in files"));
  }

 private:
  const std::shared_ptr<const PlanDevice> device_;
  const Graph lowered_;
  const std::unique_ptr<PreparedModel> cpu_;
};

class DeviceBackend final : public Backend {
 public:
  DeviceBackend(std::shared_ptr<const PlanDevice> device, const Backend& cpu)
      : device_(std::move(device)), cpu_(cpu) {}

  std::string name() const override { return device_->backend_name(); }
  std::string device_name() const override { return device_->name(); }

  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
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
    CompileOptions own = options;
    own.tune_seconds = 0;  // nothing is served by it
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<PreparedModel> cpu, cpu_.Prepare(graph, own));
    BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
    return std::make_unique<DevicePreparedModel>(device_, std::move(lowered), std::move(cpu));
  }

  absl::StatusOr<std::unique_ptr<Executable>> CompileBeside(const Graph& lowered,
                                                            const Executable& cpu) const override {
    return MakeDeviceExecutable(device_, lowered, cpu);
  }

 private:
  const std::shared_ptr<const PlanDevice> device_;
  const Backend& cpu_;
};

}  // namespace

std::unique_ptr<Backend> CreateDeviceBackend(std::shared_ptr<const PlanDevice> device,
                                             const Backend& cpu) {
  return std::make_unique<DeviceBackend>(std::move(device), cpu);
}

}  // namespace bitmill
