#include "tests/backends/cuda/fake_driver.h"

#include <dlfcn.h>

#include <vector>

#include "backends/cuda/cuda_devices.h"
#include "base/status_macros.h"

namespace bitmill {

std::string FakeCudaLibrary() { return BITMILL_FAKE_CUDA; }

void FakeCudaTest::SetUp() {
  void* const library = dlopen(BITMILL_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto control = reinterpret_cast<FakeCuda* (*)()>(dlsym(library, "FakeCudaControl"));
  reset_ = reinterpret_cast<void (*)()>(dlsym(library, "FakeCudaReset"));
  ASSERT_NE(control, nullptr);
  ASSERT_NE(reset_, nullptr);
  fake_ = control();
  reset_();
  fake_->alive = 0;
  const auto api = LoadCudaApi(BITMILL_FAKE_CUDA);
  ASSERT_TRUE(api.ok()) << api.status();
  api_ = *api;
}

void FakeCudaTest::TearDown() {
  if (fake_ == nullptr) return;
  EXPECT_EQ(fake_->alive, 0) << "not released";
}

void FakeCudaTest::FailOn(const char* call, int error, int after) {
  fake_->fail_call = call;
  fake_->fail_error = error;
  fake_->fail_after = after;
}

absl::StatusOr<std::unique_ptr<Backend>> FakeCudaTest::OpenBackend(const Backend& cpu) {
  return CreateCudaBackend(api_, kFakeCudaImage, {}, cpu);
}

absl::StatusOr<std::shared_ptr<CudaDevice>> FakeCudaTest::OpenDevice() {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> devices, ListCudaDevices(*api_));
  return CudaDevice::Open(api_, devices[0], kFakeCudaImage);
}

}  // namespace bitmill
