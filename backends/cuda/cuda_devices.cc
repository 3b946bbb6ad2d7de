#include "backends/cuda/cuda_devices.h"

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int kCapabilityMajor = 10;
constexpr int kKilo = 1000;
constexpr int64_t kTransfersAClock = 2, kBitsAByte = 8;
constexpr size_t kMaxNameBytes = 256;

// 0 when the driver does not say.
int Attribute(const CudaApi& api, CuDevice device, int attribute) {
  int value = 0;
  return api.DeviceGetAttribute(&value, attribute, device) == kCuSuccess ? value : 0;
}

absl::StatusOr<CudaDeviceInfo> ReadDevice(const CudaApi& api, int number) {
  CudaDeviceInfo info;
  info.number = number;
  BITMILL_RETURN_IF_ERROR(CudaStatus(api, api.DeviceGet(&info.id, number), "cuDeviceGet"));
  std::array<char, kMaxNameBytes> name{};
  BITMILL_RETURN_IF_ERROR(
      CudaStatus(api, api.DeviceGetName(name.data(), static_cast<int>(name.size()) - 1, info.id),
                 "cuDeviceGetName"));
  info.name = name.data();
  size_t bytes = 0;
  BITMILL_RETURN_IF_ERROR(CudaStatus(api, api.DeviceTotalMem(&bytes, info.id), "cuDeviceTotalMem"));
  const auto get = [&](int attribute) { return Attribute(api, info.id, attribute); };
  info.memory_bytes = static_cast<int64_t>(bytes);
  info.capability = get(kCuCapabilityMajor) * kCapabilityMajor + get(kCuCapabilityMinor);
  info.multiprocessors = get(kCuMultiprocessors);
  info.clock_mhz = get(kCuClockKhz) / kKilo;
  info.memory_bytes_per_s = int64_t{get(kCuMemoryClockKhz)} * kKilo * kTransfersAClock *
                            get(kCuMemoryBusBits) / kBitsAByte;
  info.max_shared_bytes = get(kCuMaxSharedBytes);
  info.integrated = get(kCuIntegrated) != 0;
  if (info.capability < kCudaLeastCapability) {
    info.problem =
        absl::StrCat("compute capability ", info.capability_text(), ", 8.0 or newer is needed");
  } else if (get(kCuComputeMode) == kCuComputeModeProhibited) {
    info.problem = "its compute mode is 'prohibited'";
  }
  return info;
}

std::string NamesOf(const std::vector<CudaDeviceInfo>& devices) {
  std::string text;
  for (const CudaDeviceInfo& device : devices) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", device.number, ": ", device.name);
  }
  return text;
}

}  // namespace

std::string CudaDeviceInfo::capability_text() const {
  return absl::StrCat(capability / kCapabilityMajor, ".", capability % kCapabilityMajor);
}

absl::StatusOr<std::vector<CudaDeviceInfo>> ListCudaDevices(const CudaApi& api) {
  int count = 0;
  BITMILL_RETURN_IF_ERROR(CudaStatus(api, api.DeviceGetCount(&count), "cuDeviceGetCount"));
  if (count <= 0) return absl::NotFoundError("no CUDA device");
  std::vector<CudaDeviceInfo> devices;
  for (int number = 0; number < count; ++number) {
    BITMILL_ASSIGN_OR_RETURN(CudaDeviceInfo info, ReadDevice(api, number));
    devices.push_back(std::move(info));
  }
  return devices;
}

absl::StatusOr<CudaDeviceInfo> ChooseCudaDevice(const std::vector<CudaDeviceInfo>& devices,
                                                const std::string& wanted) {
  int number = 0;
  const bool numbered = absl::SimpleAtoi(wanted, &number);
  const CudaDeviceInfo* unusable = nullptr;
  for (const CudaDeviceInfo& device : devices) {
    const bool named = numbered ? device.number == number
                                : absl::StrContains(absl::AsciiStrToLower(device.name),
                                                    absl::AsciiStrToLower(wanted));
    if (!named) continue;
    if (device.problem.empty()) return device;
    if (unusable == nullptr) unusable = &device;
  }
  if (unusable != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("CUDA device ", unusable->name, " cannot be used: ", unusable->problem));
  }
  return absl::NotFoundError(
      absl::StrCat("no CUDA device '", wanted, "'; there are ", NamesOf(devices)));
}

}  // namespace bitmill
