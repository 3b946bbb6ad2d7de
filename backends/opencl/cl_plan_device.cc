#include "backends/opencl/cl_plan_device.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/opencl/cl_stream.h"
#include "backends/opencl/conv_tiles.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

class ClUploadedPlan final : public UploadedPlan {
 public:
  ClUploadedPlan(std::shared_ptr<ClDevice> device, ClMemoryHandle constants, ClMemoryHandle params)
      : device_(std::move(device)), constants_(std::move(constants)), params_(std::move(params)) {}

  absl::StatusOr<std::unique_ptr<DeviceStream>> NewStream(const DevicePlan& plan,
                                                          const HostLayout& layout) const override {
    return ClStream::Create(device_, plan, layout, constants_.get(), params_.get());
  }

 private:
  const std::shared_ptr<ClDevice> device_;
  const ClMemoryHandle constants_, params_;
};

class ClPlanDevice final : public PlanDevice {
 public:
  explicit ClPlanDevice(std::shared_ptr<ClDevice> device) : device_(std::move(device)) {}

  std::string backend_name() const override { return "opencl"; }
  std::string name() const override { return device_->info().name; }
  int64_t memory_bytes() const override { return device_->info().memory_bytes; }
  std::string Description() const override {
    return absl::StrCat("OpenCL device ", device_->info().name, " (", device_->info().platform,
                        "), kernels ", device_->origin());
  }
  ChooseConvTile conv_tiles() const override { return ConvTilesFor(device_->info()); }
  std::vector<ConvTile> OtherTiles(const ConvShape& shape) const override {
    return PossibleTiles(shape);
  }
  bool HasKernel(const std::string& kernel) const override { return device_->HasKernel(kernel); }
  int32_t busy_items() const override { return 512; }
  bool keeps() const override { return device_->cache().enabled(); }
  absl::StatusOr<std::string> LoadKept(const std::string& name) const override {
    return device_->cache().Load(device_->KeyOf(name));
  }
  absl::Status Keep(const std::string& name, const std::string& bytes) const override {
    return device_->cache().Save(device_->KeyOf(name), bytes);
  }

  absl::StatusOr<std::unique_ptr<UploadedPlan>> Upload(const DevicePlan& plan) const override {
    BITMILL_ASSIGN_OR_RETURN(
        ClMemoryHandle constants,
        device_->NewBuffer(plan.constant_bytes, CL_MEM_READ_ONLY, plan.constants.data()));
    const std::vector<int32_t> values = plan.Params();
    BITMILL_ASSIGN_OR_RETURN(
        ClMemoryHandle params,
        device_->NewBuffer(static_cast<int64_t>(values.size() * sizeof(int32_t)), CL_MEM_READ_ONLY,
                           values.data()));
    return std::make_unique<ClUploadedPlan>(device_, std::move(constants), std::move(params));
  }

 private:
  const std::shared_ptr<ClDevice> device_;
};

}  // namespace

std::shared_ptr<const PlanDevice> MakeClPlanDevice(std::shared_ptr<ClDevice> device) {
  return std::make_shared<ClPlanDevice>(std::move(device));
}

}  // namespace bitmill
