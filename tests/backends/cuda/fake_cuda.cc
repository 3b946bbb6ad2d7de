// A CUDA driver for tests: devices that run the project's own kernels, compiled as C++, at once
// when they are launched, or when a graph of them is. It checks what a real one would not forgive
// (memory outside an allocation, no current context, blocks that are too large, calls that a
// capture does not allow) and fails where it is told to. A shared library without anything else of
// the project.
//
// A program that loads it by its name, libcuda.so.1, is told by the environment:
// BITMILL_FAKE_CUDA="cuStreamSynchronize 40 719" lets 40 calls succeed, then fails as a device that
// is lost does.
#include "tests/backends/cuda/fake_cuda.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "tests/backends/opencl/host_kernels.h"
#include "tests/kernels/cuda/tile_kernels.h"

using CuResult = int;
using CuDevice = int;
using CuPointer = unsigned long long;

struct CUctx_st {
  CuDevice device = 0;
};
struct CUmod_st {};
struct CUfunc_st {
  std::string name;
  int max_shared_bytes = 48 * 1024;
};
struct CUgraph_st {
  std::vector<std::function<CuResult()>> commands;
};
struct CUgraphExec_st {
  CUgraph_st graph;
};
struct CUstream_st {
  CUgraph_st* capture = nullptr;
};
struct CUevent_st {
  int64_t time_us = -1;
};

namespace {

constexpr CuResult kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNoDevice = 100,
                   kInvalidDevice = 101, kInvalidImage = 200, kInvalidContext = 201,
                   kNotFound = 500, kIllegalAddress = 700, kLaunchOutOfResources = 701,
                   kLaunchFailed = 719, kCaptureUnsupported = 900;
constexpr unsigned kFatBinaryMagic = 0xBA55ED50;
constexpr char kFakeImage[] = "fake image";
constexpr size_t kMemoryBytes = size_t{1} << 32;
constexpr int64_t kCommandUs = 10;  // of every command
constexpr int kMaxThreads = 1024, kMaxSharedBytes = 160 * 1024;

constexpr FakeCuda kAtFirst = {nullptr, 0, 0, false, false, 1, 90, 0, 0, 0, 0, 0, {}};

std::recursive_mutex mutex;  // guards all below; commands run one at a time
FakeCuda control = kAtFirst;
bool lost = false;
std::string environment_call;
std::map<CuPointer, std::vector<unsigned char>> memory;
std::map<void*, std::vector<unsigned char>> host_memory;
std::map<std::string, CUfunc_st> functions;
CUctx_st contexts[8];
int64_t now_us = 0;
thread_local CUctx_st* current = nullptr;

using Lock = std::lock_guard<std::recursive_mutex>;

// What the call returns unless it does something: success unless it is its turn to fail.
CuResult Verdict(const char* call) {
  if (lost) return control.fail_error;
  if (control.fail_call == nullptr || std::strcmp(control.fail_call, call) != 0) return kSuccess;
  if (control.fail_after > 0) {
    --control.fail_after;
    return kSuccess;
  }
  lost = control.fail_all;
  return control.fail_error;
}

// The same for calls that need a context.
CuResult VerdictInContext(const char* call) {
  return current == nullptr ? kInvalidContext : Verdict(call);
}

void ReadEnvironment() {
  const char* const text = std::getenv("BITMILL_FAKE_CUDA");
  if (text == nullptr || control.fail_call != nullptr) return;
  std::istringstream words(text);
  words >> environment_call >> control.fail_after >> control.fail_error;
  control.fail_call = environment_call.c_str();
  control.fail_all = true;
}

// The bytes at `pointer`, null unless `bytes` of them lie within an allocation.
unsigned char* At(CuPointer pointer, size_t bytes) {
  auto found = memory.upper_bound(pointer);
  if (found == memory.begin()) return nullptr;
  --found;
  const CuPointer offset = pointer - found->first;
  if (offset + bytes > found->second.size()) return nullptr;
  return found->second.data() + offset;
}

// The whole allocation that begins there.
std::vector<unsigned char>* Allocation(CuPointer pointer) {
  const auto found = memory.find(pointer);
  return found != memory.end() ? &found->second : nullptr;
}

// Runs it, or keeps it when the stream captures.
CuResult Command(CUstream_st* stream, std::function<CuResult()> command) {
  if (stream != nullptr && stream->capture != nullptr) {
    stream->capture->commands.push_back(std::move(command));
    return kSuccess;
  }
  now_us += kCommandUs;
  return command();
}

struct KernelCall {
  CUfunc_st* function = nullptr;
  unsigned grid[3] = {};
  unsigned threads = 0, shared_bytes = 0;
  CuPointer arena = 0, constants = 0, params = 0;
  int32_t step = 0, rows = 0;
};

CuResult RunKernel(const KernelCall& call) {
  ++control.launches;
  std::vector<unsigned char>* const arena = Allocation(call.arena);
  std::vector<unsigned char>* const constants = Allocation(call.constants);
  std::vector<unsigned char>* const params = Allocation(call.params);
  if (arena == nullptr || constants == nullptr || params == nullptr) return kIllegalAddress;
  const auto* const values = reinterpret_cast<const int32_t*>(params->data());
  if (const bitmill::TileKernel* const tile = bitmill::FindTileKernel(call.function->name)) {
    if (call.grid[2] != 1 || static_cast<int>(call.threads) != tile->threads ||
        static_cast<int>(call.shared_bytes) != tile->shared_bytes) {
      return kInvalidValue;
    }
    bitmill::RunTileKernel(*tile, static_cast<int>(call.grid[0]), static_cast<int>(call.grid[1]),
                           tile->shared_bytes, arena->data(), constants->data(), values, call.step,
                           call.rows);
  } else {
    if (call.grid[1] != 1 || static_cast<int32_t>(call.grid[2]) != call.rows) return kInvalidValue;
    const size_t range[3] = {size_t{call.grid[0]} * call.threads, 1, call.grid[2]};
    bitmill::RunHostKernel(call.function->name, arena->data(), constants->data(), values, call.step,
                           range);
  }
  if (control.wrong_results) {
    for (size_t i = 0; i < arena->size(); i += 7) (*arena)[i] ^= 0x10;
  }
  return kSuccess;
}

template <typename T>
CuResult New(const char* call, T** handle) {
  const CuResult verdict = VerdictInContext(call);
  if (verdict != kSuccess) return verdict;
  *handle = new T;
  ++control.alive;
  return kSuccess;
}

// Released also when the device is lost: tests count what is left.
template <typename T>
CuResult Delete(T* handle) {
  const Lock lock(mutex);
  if (current == nullptr) return kInvalidContext;
  delete handle;
  --control.alive;
  return kSuccess;
}

}  // namespace

extern "C" {

FakeCuda* FakeCudaControl() { return &control; }

void FakeCudaReset() {
  const Lock lock(mutex);
  const int64_t alive = control.alive;
  control = kAtFirst;
  control.alive = alive;
  lost = false;
}

CuResult cuInit(unsigned) {
  const Lock lock(mutex);
  ReadEnvironment();
  if (control.devices == 0) return kNoDevice;
  return Verdict("cuInit");
}
CuResult cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}
CuResult cuGetErrorName(CuResult error, const char** name) {
  static const std::map<CuResult, const char*> kNames = {
      {kInvalidValue, "CUDA_ERROR_INVALID_VALUE"},
      {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
      {kNoDevice, "CUDA_ERROR_NO_DEVICE"},
      {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE"},
      {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT"},
      {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"},
      {kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}};
  const auto found = kNames.find(error);
  *name = found != kNames.end() ? found->second : nullptr;
  return found != kNames.end() ? kSuccess : kInvalidValue;
}

CuResult cuDeviceGetCount(int* count) {
  *count = control.devices;
  return Verdict("cuDeviceGetCount");
}
CuResult cuDeviceGet(CuDevice* device, int number) {
  if (number < 0 || number >= control.devices) return kInvalidDevice;
  *device = number;
  return Verdict("cuDeviceGet");
}
CuResult cuDeviceGetName(char* name, int bytes, CuDevice device) {
  const std::string text = "Fake GPU " + std::string(1, static_cast<char>('A' + device));
  std::strncpy(name, text.c_str(), static_cast<size_t>(bytes));
  return Verdict("cuDeviceGetName");
}
CuResult cuDeviceTotalMem_v2(size_t* bytes, CuDevice) {
  *bytes = kMemoryBytes;
  return Verdict("cuDeviceTotalMem_v2");
}
CuResult cuDeviceGetAttribute(int* value, int attribute, CuDevice) {
  switch (attribute) {
    case 13:  // clock, kHz
      *value = 1'500'000;
      break;
    case 16:  // multiprocessors
      *value = 4;
      break;
    case 20:
      *value = control.compute_mode;
      break;
    case 36:  // memory clock, kHz
      *value = 1'000'000;
      break;
    case 37:  // width of its bus
      *value = 512;
      break;
    case 75:
      *value = control.capability / 10;
      break;
    case 76:
      *value = control.capability % 10;
      break;
    case 97:
      *value = kMaxSharedBytes;
      break;
    default:
      *value = 0;
  }
  return Verdict("cuDeviceGetAttribute");
}

CuResult cuDevicePrimaryCtxSetFlags_v2(CuDevice, unsigned) { return kSuccess; }
CuResult cuDevicePrimaryCtxRetain(CUctx_st** context, CuDevice device) {
  const Lock lock(mutex);
  const CuResult verdict = Verdict("cuDevicePrimaryCtxRetain");
  if (verdict != kSuccess) return verdict;
  *context = &contexts[device];
  ++control.alive;
  return kSuccess;
}
CuResult cuDevicePrimaryCtxRelease_v2(CuDevice) {
  const Lock lock(mutex);
  --control.alive;
  return kSuccess;
}
CuResult cuCtxSetCurrent(CUctx_st* context) {
  current = context;
  const Lock lock(mutex);
  return Verdict("cuCtxSetCurrent");
}

CuResult cuModuleLoadData(CUmod_st** module, const void* image) {
  const Lock lock(mutex);
  unsigned magic = 0;
  std::memcpy(&magic, image, sizeof(magic));
  if (magic != kFatBinaryMagic && std::memcmp(image, kFakeImage, sizeof(kFakeImage) - 1) != 0) {
    return kInvalidImage;
  }
  return New("cuModuleLoadData", module);
}
CuResult cuModuleUnload(CUmod_st* module) { return Delete(module); }
CuResult cuModuleGetFunction(CUfunc_st** function, CUmod_st*, const char* name) {
  const Lock lock(mutex);
  if (!bitmill::HasHostKernel(name) && bitmill::FindTileKernel(name) == nullptr) return kNotFound;
  CUfunc_st& found = functions[name];
  found.name = name;
  *function = &found;
  return VerdictInContext("cuModuleGetFunction");
}
CuResult cuFuncSetAttribute(CUfunc_st* function, int attribute, int value) {
  const Lock lock(mutex);
  if (attribute != 8 || value > kMaxSharedBytes) return kInvalidValue;
  function->max_shared_bytes = value;
  return VerdictInContext("cuFuncSetAttribute");
}

CuResult cuMemAlloc_v2(CuPointer* pointer, size_t bytes) {
  const Lock lock(mutex);
  const CuResult verdict = VerdictInContext("cuMemAlloc_v2");
  if (verdict != kSuccess) return verdict;
  if (bytes == 0) return kInvalidValue;
  std::vector<unsigned char> block(bytes, 0x5a);
  const auto address = reinterpret_cast<CuPointer>(block.data());
  memory.emplace(address, std::move(block));
  *pointer = address;
  ++control.alive;
  return kSuccess;
}
CuResult cuMemFree_v2(CuPointer pointer) {
  const Lock lock(mutex);
  if (current == nullptr) return kInvalidContext;
  if (memory.erase(pointer) == 0) return kInvalidValue;
  --control.alive;
  return kSuccess;
}
CuResult cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  const Lock lock(mutex);
  const CuResult verdict = VerdictInContext("cuMemHostAlloc");
  if (verdict != kSuccess) return verdict;
  if (bytes == 0) return kInvalidValue;
  std::vector<unsigned char> block(bytes, 0x5a);
  *pointer = block.data();
  host_memory.emplace(*pointer, std::move(block));
  ++control.alive;
  return kSuccess;
}
CuResult cuMemFreeHost(void* pointer) {
  const Lock lock(mutex);
  if (current == nullptr) return kInvalidContext;
  if (host_memory.erase(pointer) == 0) return kInvalidValue;
  --control.alive;
  return kSuccess;
}

CuResult cuMemcpyHtoD_v2(CuPointer to, const void* from, size_t bytes) {
  const Lock lock(mutex);
  const CuResult verdict = VerdictInContext("cuMemcpyHtoD_v2");
  if (verdict != kSuccess) return verdict;
  unsigned char* const place = At(to, bytes);
  if (place == nullptr) return kInvalidValue;
  std::memcpy(place, from, bytes);
  return kSuccess;
}
CuResult cuMemcpyHtoDAsync_v2(CuPointer to, const void* from, size_t bytes, CUstream_st* stream) {
  const Lock lock(mutex);
  const CuResult verdict = VerdictInContext("cuMemcpyHtoDAsync_v2");
  if (verdict != kSuccess) return verdict;
  unsigned char* const place = At(to, bytes);
  if (place == nullptr) return kInvalidValue;
  return Command(stream, [=] {
    std::memcpy(place, from, bytes);
    control.copied_in += static_cast<int64_t>(bytes);
    std::memcpy(control.last_in, from, std::min(bytes, sizeof(control.last_in)));
    return kSuccess;
  });
}
CuResult cuMemcpyDtoHAsync_v2(void* to, CuPointer from, size_t bytes, CUstream_st* stream) {
  const Lock lock(mutex);
  const CuResult verdict = VerdictInContext("cuMemcpyDtoHAsync_v2");
  if (verdict != kSuccess) return verdict;
  const unsigned char* const place = At(from, bytes);
  if (place == nullptr) return kInvalidValue;
  return Command(stream, [=] {
    std::memcpy(to, place, bytes);
    return kSuccess;
  });
}

CuResult cuStreamCreate(CUstream_st** stream, unsigned) {
  const Lock lock(mutex);
  return New("cuStreamCreate", stream);
}
CuResult cuStreamDestroy_v2(CUstream_st* stream) { return Delete(stream); }
CuResult cuStreamSynchronize(CUstream_st* stream) {
  const Lock lock(mutex);
  if (stream != nullptr && stream->capture != nullptr) return kCaptureUnsupported;
  return VerdictInContext("cuStreamSynchronize");
}

CuResult cuEventCreate(CUevent_st** event, unsigned) {
  const Lock lock(mutex);
  return New("cuEventCreate", event);
}
CuResult cuEventDestroy_v2(CUevent_st* event) { return Delete(event); }
CuResult cuEventRecord(CUevent_st* event, CUstream_st* stream) {
  const Lock lock(mutex);
  if (stream->capture != nullptr) return kCaptureUnsupported;
  event->time_us = now_us;
  return VerdictInContext("cuEventRecord");
}
CuResult cuEventElapsedTime(float* ms, CUevent_st* start, CUevent_st* end) {
  const Lock lock(mutex);
  if (start->time_us < 0 || end->time_us < start->time_us) return kInvalidValue;
  *ms = static_cast<float>(end->time_us - start->time_us) / 1000.0F;
  return VerdictInContext("cuEventElapsedTime");
}

CuResult cuLaunchKernel(CUfunc_st* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        CUstream_st* stream, void** arguments, void**) {
  const Lock lock(mutex);
  const CuResult verdict = VerdictInContext("cuLaunchKernel");
  if (verdict != kSuccess) return verdict;
  if (grid_x == 0 || grid_y == 0 || grid_z == 0 || grid_y > 65535 || grid_z > 65535) {
    return kInvalidValue;
  }
  if (block_x == 0 || block_x > kMaxThreads || block_y != 1 || block_z != 1) return kInvalidValue;
  if (shared_bytes > static_cast<unsigned>(function->max_shared_bytes)) {
    return kLaunchOutOfResources;
  }
  KernelCall call{function, {grid_x, grid_y, grid_z}, block_x, shared_bytes};
  std::memcpy(&call.arena, arguments[0], sizeof(call.arena));
  std::memcpy(&call.constants, arguments[1], sizeof(call.constants));
  std::memcpy(&call.params, arguments[2], sizeof(call.params));
  std::memcpy(&call.step, arguments[3], sizeof(call.step));
  std::memcpy(&call.rows, arguments[4], sizeof(call.rows));
  return Command(stream, [call] { return RunKernel(call); });
}

CuResult cuStreamBeginCapture_v2(CUstream_st* stream, int) {
  const Lock lock(mutex);
  if (stream->capture != nullptr) return kInvalidValue;
  return New("cuStreamBeginCapture_v2", &stream->capture);
}
CuResult cuStreamEndCapture(CUstream_st* stream, CUgraph_st** graph) {
  const Lock lock(mutex);
  if (stream->capture == nullptr) return kInvalidValue;
  const CuResult verdict = VerdictInContext("cuStreamEndCapture");
  *graph = stream->capture;
  stream->capture = nullptr;
  if (verdict != kSuccess) {
    delete *graph;
    *graph = nullptr;
    --control.alive;
  }
  return verdict;
}
CuResult cuGraphInstantiateWithFlags(CUgraphExec_st** exec, CUgraph_st* graph, unsigned long long) {
  const Lock lock(mutex);
  const CuResult verdict = New("cuGraphInstantiateWithFlags", exec);
  if (verdict == kSuccess) (*exec)->graph = *graph;
  return verdict;
}
CuResult cuGraphLaunch(CUgraphExec_st* exec, CUstream_st* stream) {
  const Lock lock(mutex);
  const CuResult verdict = VerdictInContext("cuGraphLaunch");
  if (verdict != kSuccess) return verdict;
  ++control.graph_launches;
  for (const std::function<CuResult()>& command : exec->graph.commands) {
    const CuResult result = Command(stream, command);
    if (result != kSuccess) return result;
  }
  return kSuccess;
}
CuResult cuGraphDestroy(CUgraph_st* graph) { return Delete(graph); }
CuResult cuGraphExecDestroy(CUgraphExec_st* exec) { return Delete(exec); }
}
