#include "backends/opencl/opencl_backend.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/device/canary.h"
#include "backends/device/device_plan.h"
#include "backends/fallback_executable.h"
#include "backends/opencl/cl_device.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/cl_executable.h"
#include "backends/opencl/conv_tiles.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"

namespace bitmill {
namespace {

// The model on the device alone, if it computes what `cpu` does.
absl::StatusOr<std::unique_ptr<Executable>> MakeDeviceExecutable(
    const std::shared_ptr<ClDevice>& device, const Graph& lowered, const Executable& cpu) {
  BITMILL_ASSIGN_OR_RETURN(DevicePlan plan,
                           BuildDevicePlan(lowered, cpu.max_rows(), ConvTilesFor(device->info())));
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<ClExecutable> executable,
                           ClExecutable::Create(device, cpu.signature(), std::move(plan)));
  const absl::Status canary = CompareOnCanary(*executable, cpu, executable->plan().exact);
  if (!canary.ok()) {
    return absl::Status(
        canary.code(), absl::StrCat("OpenCL device ", device->info().name, ": ", canary.message()));
  }
  return std::unique_ptr<Executable>(std::move(executable));
}

// A lowered graph, and the same model for the CPU.
class ClPreparedModel final : public PreparedModel {
 public:
  ClPreparedModel(std::shared_ptr<ClDevice> device, Graph lowered,
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
  const std::shared_ptr<ClDevice> device_;
  const Graph lowered_;
  const std::unique_ptr<PreparedModel> cpu_;
};

class OpenClBackend final : public Backend {
 public:
  OpenClBackend(std::shared_ptr<ClDevice> device, const Backend& cpu)
      : device_(std::move(device)), cpu_(cpu) {}

  std::string name() const override { return "opencl"; }

  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    if (options.precision != Precision::kExact) {
      return absl::InvalidArgumentError(absl::StrCat("precision ", PrecisionName(options.precision),
                                                     " is for the backend cpu alone"));
    }
    CompileOptions own = options;
    own.tune_seconds = 0;  // nothing is served by it
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<PreparedModel> cpu, cpu_.Prepare(graph, own));
    BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
    return std::make_unique<ClPreparedModel>(device_, std::move(lowered), std::move(cpu));
  }

  absl::StatusOr<std::unique_ptr<Executable>> CompileBeside(const Graph& lowered,
                                                            const Executable& cpu) const override {
    return MakeDeviceExecutable(device_, lowered, cpu);
  }

 private:
  const std::shared_ptr<ClDevice> device_;
  const Backend& cpu_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateOpenClBackend(std::shared_ptr<const ClApi> api,
                                                             const OpenClOptions& options,
                                                             const Backend& cpu) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<ClDeviceInfo> devices, ListClDevices(*api));
  BITMILL_ASSIGN_OR_RETURN(const ClDeviceInfo info, ChooseClDevice(devices, options.device));
  BITMILL_ASSIGN_OR_RETURN(
      std::shared_ptr<ClDevice> device,
      ClDevice::Open(std::move(api), info, ProgramCache(options.cache_folder)));
  return std::make_unique<OpenClBackend>(std::move(device), cpu);
}

absl::StatusOr<std::unique_ptr<Backend>> CreateOpenClBackend(const OpenClOptions& options,
                                                             const Backend& cpu) {
  BITMILL_ASSIGN_OR_RETURN(std::shared_ptr<const ClApi> api, LoadClApi(options.library));
  return CreateOpenClBackend(std::move(api), options, cpu);
}

}  // namespace bitmill
