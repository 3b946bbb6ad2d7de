// An OpenCL driver for tests: one CPU device that runs the project's own kernels, compiled as C++,
// at once when they are enqueued. It fails where it is told to. A shared library without anything
// else of the project.
#include "tests/backends/opencl/fake_opencl.h"

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/backends/opencl/host_kernels.h"

struct _cl_platform_id {};
struct _cl_device_id {};
struct _cl_context {};
struct _cl_command_queue {};
struct _cl_event {};
struct _cl_mem {
  std::vector<unsigned char> bytes;
};
struct _cl_program {
  bool from_binary = false;
};
struct _cl_kernel {
  std::string name;
  cl_mem buffers[3] = {};
  cl_int step = 0;
};

namespace {

constexpr char kBinary[] = "fake program 1";
constexpr cl_int kNoPlatform = -1001;

FakeOpenCl control = {nullptr, 0, 0, false, 1, 0, 0};
_cl_platform_id platform;
_cl_device_id device;

// What the call returns: CL_SUCCESS unless it is its turn to fail.
cl_int Verdict(const char* call) {
  if (control.fail_call == nullptr || std::strcmp(control.fail_call, call) != 0) return CL_SUCCESS;
  if (control.fail_after > 0) {
    --control.fail_after;
    return CL_SUCCESS;
  }
  return control.fail_error;
}

template <typename T>
T* New(const char* call, cl_int* error) {
  const cl_int verdict = Verdict(call);
  if (error != nullptr) *error = verdict;
  return verdict == CL_SUCCESS ? new T : nullptr;
}

cl_int Give(const void* data, size_t bytes, size_t room, void* to, size_t* needed) {
  if (needed != nullptr) *needed = bytes;
  if (to == nullptr) return CL_SUCCESS;
  if (room < bytes) return CL_INVALID_VALUE;
  std::memcpy(to, data, bytes);
  return CL_SUCCESS;
}

cl_int GiveText(const char* text, size_t room, void* to, size_t* needed) {
  return Give(text, std::strlen(text) + 1, room, to, needed);
}

template <typename T>
cl_int GiveNumber(T value, size_t room, void* to, size_t* needed) {
  return Give(&value, sizeof(value), room, to, needed);
}

}  // namespace

extern "C" {

FakeOpenCl* FakeOpenClControl() { return &control; }

cl_int clGetPlatformIDs(cl_uint room, cl_platform_id* platforms, cl_uint* count) {
  if (control.platforms == 0) return kNoPlatform;
  if (count != nullptr) *count = 1;
  if (platforms != nullptr && room > 0) *platforms = &platform;
  return Verdict("clGetPlatformIDs");
}

cl_int clGetPlatformInfo(cl_platform_id, cl_platform_info what, size_t room, void* to,
                         size_t* needed) {
  return GiveText(what == CL_PLATFORM_NAME ? "Fake platform" : "OpenCL 1.2 fake", room, to, needed);
}

cl_int clGetDeviceIDs(cl_platform_id, cl_device_type, cl_uint room, cl_device_id* devices,
                      cl_uint* count) {
  if (count != nullptr) *count = 1;
  if (devices != nullptr && room > 0) *devices = &device;
  return Verdict("clGetDeviceIDs");
}

cl_int clGetDeviceInfo(cl_device_id, cl_device_info what, size_t room, void* to, size_t* needed) {
  constexpr cl_ulong kMemory = cl_ulong{1} << 32;
  switch (what) {
    case CL_DEVICE_NAME:
      return GiveText("Fake device", room, to, needed);
    case CL_DEVICE_VENDOR:
      return GiveText("Fake vendor", room, to, needed);
    case CL_DRIVER_VERSION:
      return GiveText("1.0", room, to, needed);
    case CL_DEVICE_VERSION:
      return GiveText("OpenCL 1.2 fake", room, to, needed);
    case CL_DEVICE_TYPE:
      return GiveNumber(cl_device_type{CL_DEVICE_TYPE_CPU}, room, to, needed);
    case CL_DEVICE_MAX_COMPUTE_UNITS:
    case CL_DEVICE_MAX_CLOCK_FREQUENCY:
      return GiveNumber(cl_uint{1}, room, to, needed);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
      return GiveNumber(kMemory, room, to, needed);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
      return GiveNumber(size_t{256}, room, to, needed);
    case CL_DEVICE_DOUBLE_FP_CONFIG:
      return GiveNumber(cl_device_fp_config{CL_FP_FMA}, room, to, needed);
    case CL_DEVICE_SINGLE_FP_CONFIG:
      return GiveNumber(cl_device_fp_config{CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT}, room, to, needed);
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_COMPILER_AVAILABLE:
    case CL_DEVICE_ENDIAN_LITTLE:
      return GiveNumber(cl_bool{CL_TRUE}, room, to, needed);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_context clCreateContext(const cl_context_properties*, cl_uint, const cl_device_id*,
                           void(CL_CALLBACK*)(const char*, const void*, size_t, void*), void*,
                           cl_int* error) {
  return New<_cl_context>("clCreateContext", error);
}
cl_int clReleaseContext(cl_context context) {
  delete context;
  return CL_SUCCESS;
}

cl_command_queue clCreateCommandQueue(cl_context, cl_device_id, cl_command_queue_properties,
                                      cl_int* error) {
  return New<_cl_command_queue>("clCreateCommandQueue", error);
}
cl_int clReleaseCommandQueue(cl_command_queue queue) {
  delete queue;
  return CL_SUCCESS;
}

cl_mem clCreateBuffer(cl_context, cl_mem_flags, size_t bytes, void* data, cl_int* error) {
  const cl_mem memory = New<_cl_mem>("clCreateBuffer", error);
  if (memory == nullptr) return nullptr;
  memory->bytes.resize(bytes, 0x5a);
  if (data != nullptr) std::memcpy(memory->bytes.data(), data, bytes);
  return memory;
}
cl_int clReleaseMemObject(cl_mem memory) {
  delete memory;
  return CL_SUCCESS;
}

cl_program clCreateProgramWithSource(cl_context, cl_uint, const char**, const size_t*,
                                     cl_int* error) {
  return New<_cl_program>("clCreateProgramWithSource", error);
}

cl_program clCreateProgramWithBinary(cl_context, cl_uint, const cl_device_id*, const size_t* bytes,
                                     const unsigned char** binary, cl_int* verdict, cl_int* error) {
  const bool good = *bytes == sizeof(kBinary) && std::memcmp(*binary, kBinary, *bytes) == 0;
  *verdict = good ? CL_SUCCESS : CL_INVALID_BINARY;
  const cl_program program = New<_cl_program>("clCreateProgramWithBinary", error);
  if (program != nullptr) program->from_binary = true;
  return program;
}

cl_int clBuildProgram(cl_program program, cl_uint, const cl_device_id*, const char*,
                      void(CL_CALLBACK*)(cl_program, void*), void*) {
  const cl_int verdict = Verdict("clBuildProgram");
  if (verdict == CL_SUCCESS)
    ++(program->from_binary ? control.programs_loaded : control.programs_built);
  return verdict;
}

cl_int clGetProgramInfo(cl_program, cl_program_info what, size_t room, void* to, size_t* needed) {
  if (what == CL_PROGRAM_KERNEL_NAMES) {
    return GiveText("bm_conv_bits;bm_quantize_plain", room, to, needed);
  }
  if (what == CL_PROGRAM_BINARY_SIZES) {
    const size_t bytes = sizeof(kBinary);
    std::memcpy(to, &bytes, sizeof(bytes));
  } else if (what == CL_PROGRAM_BINARIES) {
    unsigned char* place = nullptr;
    std::memcpy(&place, to, sizeof(place));
    std::memcpy(place, kBinary, sizeof(kBinary));
  }
  return Verdict("clGetProgramInfo");
}

cl_int clGetProgramBuildInfo(cl_program, cl_device_id, cl_program_build_info, size_t room, void* to,
                             size_t* needed) {
  return GiveText("error: fake compiler", room, to, needed);
}

cl_int clReleaseProgram(cl_program program) {
  delete program;
  return CL_SUCCESS;
}

cl_kernel clCreateKernel(cl_program, const char* name, cl_int* error) {
  const cl_kernel kernel = New<_cl_kernel>("clCreateKernel", error);
  if (kernel != nullptr) kernel->name = name;
  return kernel;
}
cl_int clReleaseKernel(cl_kernel kernel) {
  delete kernel;
  return CL_SUCCESS;
}

cl_int clSetKernelArg(cl_kernel kernel, cl_uint index, size_t, const void* value) {
  if (index < 3) {
    std::memcpy(&kernel->buffers[index], value, sizeof(cl_mem));
  } else {
    std::memcpy(&kernel->step, value, sizeof(cl_int));
  }
  return Verdict("clSetKernelArg");
}

cl_int clEnqueueNDRangeKernel(cl_command_queue, cl_kernel kernel, cl_uint, const size_t*,
                              const size_t* global, const size_t*, cl_uint, const cl_event*,
                              cl_event* event) {
  const cl_int verdict = Verdict("clEnqueueNDRangeKernel");
  if (verdict != CL_SUCCESS) return verdict;
  std::vector<unsigned char>& arena = kernel->buffers[0]->bytes;
  const auto* const params = reinterpret_cast<const int32_t*>(kernel->buffers[2]->bytes.data());
  if (!bitmill::RunHostKernel(kernel->name, arena.data(), kernel->buffers[1]->bytes.data(), params,
                              kernel->step, global)) {
    return CL_INVALID_KERNEL_NAME;
  }
  if (control.wrong_results) {
    for (size_t i = 0; i < arena.size(); i += 7) arena[i] ^= 0x10;
  }
  if (event != nullptr) *event = new _cl_event;
  return CL_SUCCESS;
}

cl_int clEnqueueReadBuffer(cl_command_queue, cl_mem memory, cl_bool, size_t offset, size_t bytes,
                           void* to, cl_uint, const cl_event*, cl_event* event) {
  const cl_int verdict = Verdict("clEnqueueReadBuffer");
  if (verdict != CL_SUCCESS) return verdict;
  std::memcpy(to, memory->bytes.data() + offset, bytes);
  if (event != nullptr) *event = new _cl_event;
  return CL_SUCCESS;
}

cl_int clEnqueueWriteBuffer(cl_command_queue, cl_mem memory, cl_bool, size_t offset, size_t bytes,
                            const void* from, cl_uint, const cl_event*, cl_event* event) {
  const cl_int verdict = Verdict("clEnqueueWriteBuffer");
  if (verdict != CL_SUCCESS) return verdict;
  std::memcpy(memory->bytes.data() + offset, from, bytes);
  if (event != nullptr) *event = new _cl_event;
  return CL_SUCCESS;
}

void* clEnqueueMapBuffer(cl_command_queue, cl_mem memory, cl_bool, cl_map_flags, size_t offset,
                         size_t, cl_uint, const cl_event*, cl_event*, cl_int* error) {
  *error = Verdict("clEnqueueMapBuffer");
  return *error == CL_SUCCESS ? memory->bytes.data() + offset : nullptr;
}

cl_int clEnqueueUnmapMemObject(cl_command_queue, cl_mem, void*, cl_uint, const cl_event*,
                               cl_event*) {
  return CL_SUCCESS;
}

cl_int clFinish(cl_command_queue) { return Verdict("clFinish"); }

// A command takes 10 ns and starts 5 after it was queued, 3 after it was submitted.
cl_int clGetEventProfilingInfo(cl_event, cl_profiling_info what, size_t room, void* to,
                               size_t* needed) {
  const cl_ulong time = what == CL_PROFILING_COMMAND_END      ? 115
                        : what == CL_PROFILING_COMMAND_START  ? 105
                        : what == CL_PROFILING_COMMAND_SUBMIT ? 102
                                                              : 100;
  return GiveNumber(time, room, to, needed);
}

cl_int clReleaseEvent(cl_event event) {
  delete event;
  return CL_SUCCESS;
}
}
