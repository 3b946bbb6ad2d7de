// The fake driver (fake_cuda.h), loaded, as a fixture's base.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/cuda/cuda_api.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/cuda_device.h"
#include "tests/backends/cuda/fake_cuda.h"

namespace bitmill {

inline constexpr char kFakeCudaImage[] = "fake image";

// The library's file.
std::string FakeCudaLibrary();

class FakeCudaTest : public testing::Test {
 protected:
  void SetUp() override;
  // Nothing that was made with the driver is left.
  void TearDown() override;

  void FailOn(const char* call, int error, int after = 0);
  absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const Backend& cpu);
  absl::StatusOr<std::shared_ptr<CudaDevice>> OpenDevice();

  std::shared_ptr<const CudaApi> api_;
  FakeCuda* fake_ = nullptr;
  void (*reset_)() = nullptr;
};

}  // namespace bitmill
