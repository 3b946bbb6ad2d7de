// A management library of two GPUs: the second one has no counters of energy and utilization. Tests
// move the counter of the first by setting the global that is looked up by name.
#include <cstring>

namespace {

int gpus[2];
constexpr int kSuccess = 0, kInvalidArgument = 2, kNotSupported = 3;

int IndexOf(const void* device) { return device == &gpus[0] ? 0 : device == &gpus[1] ? 1 : -1; }

}  // namespace

extern "C" {

unsigned long long fake_nvml_millijoules = 5'000'000;
int fake_nvml_init_result = 0;
int fake_nvml_open = 0;  // initialized less shut down

struct FakeMemory {
  unsigned long long total, free, used;
};
struct FakeUtilization {
  unsigned gpu, memory;
};

int nvmlInit_v2() {
  if (fake_nvml_init_result == kSuccess) ++fake_nvml_open;
  return fake_nvml_init_result;
}
int nvmlShutdown() {
  --fake_nvml_open;
  return kSuccess;
}
const char* nvmlErrorString(int error) {
  return error == 9 ? "Driver Not Loaded" : "Unknown Error";
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return kSuccess;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  if (index > 1) return kInvalidArgument;
  *device = &gpus[index];
  return kSuccess;
}
int nvmlDeviceGetUUID(void* device, char* text, unsigned size) {
  std::strncpy(text, IndexOf(device) == 0 ? "GPU-aaaa" : "GPU-bbbb", size);
  return kSuccess;
}
int nvmlDeviceGetName(void* device, char* text, unsigned size) {
  std::strncpy(text, IndexOf(device) == 0 ? "Fake H100" : "Fake T4", size);
  return kSuccess;
}
int nvmlDeviceGetMemoryInfo(void* device, FakeMemory* memory) {
  *memory =
      IndexOf(device) == 0 ? FakeMemory{80'000, 50'000, 30'000} : FakeMemory{16'000, 15'000, 1'000};
  return kSuccess;
}
int nvmlDeviceGetUtilizationRates(void* device, FakeUtilization* utilization) {
  if (IndexOf(device) != 0) return kNotSupported;
  *utilization = {75, 25};
  return kSuccess;
}
int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  *milliwatts = IndexOf(device) == 0 ? 350'500 : 70'000;
  return kSuccess;
}
int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* millijoules) {
  if (IndexOf(device) != 0) return kNotSupported;
  *millijoules = fake_nvml_millijoules;
  return kSuccess;
}
int nvmlDeviceGetClockInfo(void* /*device*/, int type, unsigned* mhz) {
  if (type != 1 && type != 2) return kInvalidArgument;
  *mhz = type == 1 ? 1'980 : 2'619;
  return kSuccess;
}
int nvmlDeviceGetTemperature(void* /*device*/, int sensor, unsigned* celsius) {
  if (sensor != 0) return kInvalidArgument;
  *celsius = 61;
  return kSuccess;
}
}
