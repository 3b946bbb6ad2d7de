#include "server/analysis/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int kSuccess = 0;
constexpr unsigned kMaxGpus = 64;
constexpr unsigned kTextBytes = 96;  // as NVML's documentation says for names and UUIDs
constexpr int kSmClock = 1, kMemoryClock = 2;
constexpr int kGpuSensor = 0;

// nvmlMemory_t and nvmlUtilization_t.
struct MemoryInfo {
  unsigned long long total = 0, free = 0, used = 0;
};
struct Utilization {
  unsigned gpu = 0, memory = 0;  // percent
};

}  // namespace

// The functions by their names in the library.
class NvmlApi {
 public:
  static absl::StatusOr<std::unique_ptr<NvmlApi>> Load(const std::string& library) {
    void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return absl::NotFoundError(absl::StrCat(library, ": not found"));
    std::unique_ptr<NvmlApi> api(new NvmlApi(handle));
    const bool complete = api->Find("nvmlInit_v2", api->init) &&
                          api->Find("nvmlShutdown", api->shutdown) &&
                          api->Find("nvmlErrorString", api->error_string) &&
                          api->Find("nvmlDeviceGetCount_v2", api->get_count) &&
                          api->Find("nvmlDeviceGetHandleByIndex_v2", api->get_handle) &&
                          api->Find("nvmlDeviceGetUUID", api->get_uuid) &&
                          api->Find("nvmlDeviceGetName", api->get_name) &&
                          api->Find("nvmlDeviceGetMemoryInfo", api->get_memory) &&
                          api->Find("nvmlDeviceGetUtilizationRates", api->get_utilization) &&
                          api->Find("nvmlDeviceGetPowerUsage", api->get_power) &&
                          api->Find("nvmlDeviceGetTotalEnergyConsumption", api->get_energy) &&
                          api->Find("nvmlDeviceGetClockInfo", api->get_clock) &&
                          api->Find("nvmlDeviceGetTemperature", api->get_temperature);
    if (!complete) {
      return absl::FailedPreconditionError(
          absl::StrCat(library, ": has no function ", api->missing_));
    }
    if (const int error = api->init(); error != kSuccess) {
      return absl::FailedPreconditionError(absl::StrCat(library, ": ", api->error_string(error)));
    }
    api->initialized_ = true;
    return api;
  }
  ~NvmlApi() {
    if (initialized_) shutdown();
    dlclose(handle_);
  }
  NvmlApi(const NvmlApi&) = delete;
  NvmlApi& operator=(const NvmlApi&) = delete;

  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*get_count)(unsigned*) = nullptr;
  int (*get_handle)(unsigned, void**) = nullptr;
  int (*get_uuid)(void*, char*, unsigned) = nullptr;
  int (*get_name)(void*, char*, unsigned) = nullptr;
  int (*get_memory)(void*, MemoryInfo*) = nullptr;
  int (*get_utilization)(void*, Utilization*) = nullptr;
  int (*get_power)(void*, unsigned*) = nullptr;             // milliwatts
  int (*get_energy)(void*, unsigned long long*) = nullptr;  // millijoules
  int (*get_clock)(void*, int, unsigned*) = nullptr;        // MHz
  int (*get_temperature)(void*, int, unsigned*) = nullptr;  // degrees Celsius

 private:
  explicit NvmlApi(void* handle) : handle_(handle) {}

  template <typename Function>
  bool Find(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(handle_, name));
    if (function == nullptr) missing_ = name;
    return function != nullptr;
  }

  void* const handle_;
  bool initialized_ = false;
  const char* missing_ = "";
};

absl::StatusOr<std::unique_ptr<Nvml>> Nvml::Open(const std::string& library) {
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<NvmlApi> api, NvmlApi::Load(library));
  std::unique_ptr<Nvml> nvml(new Nvml(std::move(api)));
  nvml->FindGpus();
  return nvml;
}

Nvml::Nvml(std::unique_ptr<NvmlApi> api) : api_(std::move(api)) {}

Nvml::~Nvml() = default;

void Nvml::FindGpus() {
  unsigned count = 0;
  if (api_->get_count(&count) != kSuccess) return;
  for (unsigned i = 0; i < std::min(count, kMaxGpus); ++i) {
    Gpu gpu{.index = static_cast<int>(i)};
    if (const int error = api_->get_handle(i, &gpu.handle); error != kSuccess) {
      LogDebug(absl::StrCat("nvml: GPU ", i, ": ", api_->error_string(error)));
      continue;
    }
    std::array<char, kTextBytes> text{};
    const auto size = static_cast<unsigned>(text.size() - 1);  // always ends in a zero
    if (api_->get_uuid(gpu.handle, text.data(), size) == kSuccess) gpu.uuid = text.data();
    text.fill(0);
    if (api_->get_name(gpu.handle, text.data(), size) == kSuccess) gpu.name = text.data();
    unsigned long long mj = 0;
    if (api_->get_energy(gpu.handle, &mj) == kSuccess) gpu.last_mj = static_cast<int64_t>(mj);
    gpus_.push_back(std::move(gpu));
  }
}

GpuReading Nvml::ReadGpu(Gpu& gpu) const {
  GpuReading reading{.index = gpu.index, .uuid = gpu.uuid, .name = gpu.name};
  MemoryInfo memory;
  if (api_->get_memory(gpu.handle, &memory) == kSuccess) {
    reading.memory_total_bytes = static_cast<int64_t>(memory.total);
    reading.memory_used_bytes = static_cast<int64_t>(memory.used);
  }
  Utilization busy;
  if (api_->get_utilization(gpu.handle, &busy) == kSuccess) {
    reading.busy_share = busy.gpu / 100.0;
    reading.memory_busy_share = busy.memory / 100.0;
  }
  unsigned value = 0;
  if (api_->get_power(gpu.handle, &value) == kSuccess) reading.watts = value * 1e-3;
  if (api_->get_clock(gpu.handle, kSmClock, &value) == kSuccess) reading.sm_clock_mhz = value;
  if (api_->get_clock(gpu.handle, kMemoryClock, &value) == kSuccess) {
    reading.memory_clock_mhz = value;
  }
  if (api_->get_temperature(gpu.handle, kGpuSensor, &value) == kSuccess) {
    reading.temperature_celsius = value;
  }
  unsigned long long mj = 0;
  if (gpu.last_mj >= 0 && api_->get_energy(gpu.handle, &mj) == kSuccess) {
    const auto now_mj = static_cast<int64_t>(mj);
    // The driver counts from its own start: one that began anew has used what it says.
    gpu.used_mj += now_mj >= gpu.last_mj ? now_mj - gpu.last_mj : now_mj;
    gpu.last_mj = now_mj;
  }
  if (gpu.last_mj >= 0) reading.joules = static_cast<double>(gpu.used_mj) * 1e-3;
  return reading;
}

std::vector<GpuReading> Nvml::Read() {
  std::vector<GpuReading> readings;
  readings.reserve(gpus_.size());
  for (Gpu& gpu : gpus_) readings.push_back(ReadGpu(gpu));
  return readings;
}

}  // namespace bitmill
