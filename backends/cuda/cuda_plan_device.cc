#include "backends/cuda/cuda_plan_device.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cuda/conv_tiles.h"
#include "backends/cuda/cuda_launch.h"
#include "backends/cuda/cuda_stream.h"
#include "backends/device/device_speed.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

class CudaUploadedPlan final : public UploadedPlan {
 public:
  static absl::StatusOr<std::unique_ptr<CudaUploadedPlan>> Create(
      std::shared_ptr<CudaDevice> device, const DevicePlan& plan) {
    std::unique_ptr<CudaUploadedPlan> uploaded(new CudaUploadedPlan(std::move(device)));
    BITMILL_RETURN_IF_ERROR(uploaded->Prepare(plan));
    return uploaded;
  }
  ~CudaUploadedPlan() override {
    static_cast<void>(device_->Enter());  // for what is released now, see CudaHandle
  }
  CudaUploadedPlan(const CudaUploadedPlan&) = delete;
  CudaUploadedPlan& operator=(const CudaUploadedPlan&) = delete;

  absl::StatusOr<std::unique_ptr<DeviceStream>> NewStream(const DevicePlan& plan,
                                                          const HostLayout& layout) const override {
    return CudaStream::Create(device_, plan, layout, uploads_);
  }

 private:
  explicit CudaUploadedPlan(std::shared_ptr<CudaDevice> device) : device_(std::move(device)) {}

  absl::Status Prepare(const DevicePlan& plan) {
    BITMILL_RETURN_IF_ERROR(device_->Enter());
    BITMILL_ASSIGN_OR_RETURN(constants_,
                             device_->Upload(plan.constants.data(), plan.constant_bytes));
    const std::vector<int32_t> values = plan.Params();
    BITMILL_ASSIGN_OR_RETURN(
        params_,
        device_->Upload(values.data(), static_cast<int64_t>(values.size() * sizeof(int32_t))));
    uploads_.constants = constants_.get();
    uploads_.params = params_.get();
    return FindKernels(plan);
  }

  absl::Status FindKernels(const DevicePlan& plan) {
    for (const DeviceStep& step : plan.steps) {
      CuFunction kernel = nullptr, few_kernel = nullptr;
      if (step.host == nullptr) {
        // What can go wrong with the grid of a batch goes wrong here, not when it is launched.
        BITMILL_RETURN_IF_ERROR(CudaLaunchOf(step, plan.max_rows).status());
        BITMILL_ASSIGN_OR_RETURN(kernel, device_->Kernel(step.kernel));
        if (step.tiles.shared_bytes > kCudaFreeSharedBytes) {
          BITMILL_RETURN_IF_ERROR(
              device_->AllowShared(step.kernel, kernel, step.tiles.shared_bytes));
        }
      }
      if (!step.few_kernel.empty()) {
        BITMILL_ASSIGN_OR_RETURN(few_kernel, device_->Kernel(step.few_kernel));
      }
      uploads_.kernels.push_back(kernel);
      uploads_.few_kernels.push_back(few_kernel);
    }
    return absl::OkStatus();
  }

  const std::shared_ptr<CudaDevice> device_;
  CudaMemory constants_, params_;
  CudaUploads uploads_;
};

class CudaPlanDevice final : public PlanDevice {
 public:
  explicit CudaPlanDevice(std::shared_ptr<CudaDevice> device) : device_(std::move(device)) {}

  std::string backend_name() const override { return "cuda"; }
  std::string name() const override { return device_->info().name; }
  int64_t memory_bytes() const override { return device_->info().memory_bytes; }
  int gpu_number() const override { return device_->info().number; }
  std::string Description() const override {
    return absl::StrCat("CUDA device ", device_->info().name, " (",
                        device_->info().capability_text(), "), kernels ", device_->origin());
  }
  ChooseConvTile conv_tiles() const override { return CudaConvTiles(device_->info().capability); }
  bool HasKernel(const std::string& kernel) const override {
    // It is in all images, but products of groups are instructions of 9.0 alone.
    if (kernel == kCountGroups && device_->info().capability != 90) return false;
    return device_->Enter().ok() && device_->Kernel(kernel).ok();
  }
  // An eighth of the threads that the multiprocessors hold.
  int32_t busy_items() const override {
    constexpr int64_t kThreads = 2048, kRows = 8;
    const int64_t multiprocessors = std::max<int64_t>(1, device_->info().multiprocessors);
    return static_cast<int32_t>(multiprocessors * kThreads / kRows);
  }
  bool wants_input_bits() const override { return true; }
  bool overlaps_copies() const override { return true; }
  bool records() const override { return true; }

  absl::StatusOr<std::unique_ptr<UploadedPlan>> Upload(const DevicePlan& plan) const override {
    return CudaUploadedPlan::Create(device_, plan);
  }

 private:
  const std::shared_ptr<CudaDevice> device_;
};

}  // namespace

std::shared_ptr<const PlanDevice> MakeCudaPlanDevice(std::shared_ptr<CudaDevice> device) {
  return std::make_shared<CudaPlanDevice>(std::move(device));
}

}  // namespace bitmill
