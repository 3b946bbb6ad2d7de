#include "backends/opencl/cl_device.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "backends/device/device_plan.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "kernels/opencl/device_source.h"

namespace bitmill {
namespace {

constexpr size_t kGroupItems = 64;
constexpr size_t kMaxLineItems = 32768;         // of dimension 0
constexpr size_t kHandleBytes = sizeof(void*);  // of a cl_mem
constexpr size_t kMaxLogBytes = 600;
constexpr int64_t kNanosPerMilli = 1'000'000;

// Sums are the reference's, in double precision, where that costs little.
std::string OptionsFor(const ClDeviceInfo& info) {
  const bool cpu = (info.type & CL_DEVICE_TYPE_CPU) != 0;
  std::string options = "-cl-std=CL1.2";
  absl::StrAppend(&options, " -DBITMILL_SUM=", cpu && info.fp64 ? "double" : "float");
  if (info.exact_divide) {
    absl::StrAppend(&options, " -DBITMILL_EXACT_DIVIDE -cl-fp32-correctly-rounded-divide-sqrt");
  }
  return options;
}

ProgramKey KeyFor(const ClDeviceInfo& info, const std::string& options) {
  const std::string_view source = OpenClSource();
  return {{"device", absl::StrCat(info.vendor, " ", info.name)},
          {"driver", info.driver},
          {"version", info.version},
          {"platform", absl::StrCat(info.platform, " ", info.platform_version)},
          {"options", options},
          {"groups",
           absl::StrCat(absl::StrJoin(kBlockGroups, " "), ", ", absl::StrJoin(kOctetGroups, " "))},
          {"source",
           absl::StrCat(source.size(), " ", absl::Hex(HashBytes(source.data(), source.size())))}};
}

// The sizes of work groups that plans may name, see RunEachKernel.
std::vector<int32_t> GroupsOf(const std::string& kernel) {
  if (kernel == kBlockKernel) return {std::begin(kBlockGroups), std::end(kBlockGroups)};
  if (kernel == kSliceKernel) return {kSliceGroup};
  if (kernel == "bm_conv_bits" || kernel == "bm_conv_codes" || kernel == kCodeRunKernel) {
    return {std::begin(kOctetGroups), std::end(kOctetGroups)};
  }
  return {0};
}

}  // namespace

ClDevice::ClDevice(std::shared_ptr<const ClApi> api, const ClDeviceInfo& info,
                   const ProgramCache& cache)
    : api_(std::move(api)),
      info_(info),
      cache_(cache),
      options_(OptionsFor(info)),
      key_(KeyFor(info, options_)) {}

absl::StatusOr<std::shared_ptr<ClDevice>> ClDevice::Open(std::shared_ptr<const ClApi> api,
                                                         const ClDeviceInfo& info,
                                                         const ProgramCache& cache) {
  std::shared_ptr<ClDevice> device(new ClDevice(std::move(api), info, cache));
  cl_int error = CL_SUCCESS;
  const cl_context_properties properties[] = {
      CL_CONTEXT_PLATFORM, reinterpret_cast<cl_context_properties>(info.platform_id), 0};
  const cl_context context =
      device->api().clCreateContext(properties, 1, &info.id, nullptr, nullptr, &error);
  BITMILL_RETURN_IF_ERROR(ClStatus(error, "clCreateContext"));
  device->context_ = ClContextHandle(device->api(), context);
  BITMILL_RETURN_IF_ERROR(device->BuildProgram());
  return device;
}

ProgramKey ClDevice::KeyOf(const std::string& name) const {
  ProgramKey key = key_;
  key.emplace_back("name", name);
  return key;
}

absl::Status ClDevice::BuildProgram() {
  const SystemClock clock;
  const int64_t start_ns = clock.Now();
  const auto elapsed_ms = [&] { return (clock.Now() - start_ns) / kNanosPerMilli; };
  const absl::Status cached = BuildFromCache();
  if (cached.ok()) {
    origin_ = absl::StrCat("from cache, ", elapsed_ms(), " ms");
    return absl::OkStatus();
  }
  if (!absl::IsNotFound(cached)) {
    LogWarning(absl::StrCat("device program not used: ", cached.message()));
  }
  BITMILL_RETURN_IF_ERROR(BuildFromSource());
  BITMILL_RETURN_IF_ERROR(RunEachKernel());
  SaveProgram();
  origin_ = absl::StrCat("compiled in ", elapsed_ms(), " ms");
  return absl::OkStatus();
}

absl::Status ClDevice::BuildFromCache() {
  BITMILL_ASSIGN_OR_RETURN(const std::string cached, cache_.Load(key_));
  const size_t bytes = cached.size();
  const auto* binary = reinterpret_cast<const unsigned char*>(cached.data());
  cl_int error = CL_SUCCESS, verdict = CL_SUCCESS;
  ClProgramHandle program(
      *api_, api_->clCreateProgramWithBinary(context_.get(), 1, &info_.id, &bytes, &binary,
                                             &verdict, &error));
  BITMILL_RETURN_IF_ERROR(ClStatus(error, "clCreateProgramWithBinary"));
  BITMILL_RETURN_IF_ERROR(ClStatus(verdict, "clCreateProgramWithBinary"));
  return FinishBuild(std::move(program));
}

absl::Status ClDevice::BuildFromSource() {
  const std::string_view source = OpenClSource();
  const char* text = source.data();
  const size_t bytes = source.size();
  cl_int error = CL_SUCCESS;
  ClProgramHandle program(
      *api_, api_->clCreateProgramWithSource(context_.get(), 1, &text, &bytes, &error));
  BITMILL_RETURN_IF_ERROR(ClStatus(error, "clCreateProgramWithSource"));
  return FinishBuild(std::move(program));
}

absl::Status ClDevice::FinishBuild(ClProgramHandle program) {
  const cl_int error =
      api_->clBuildProgram(program.get(), 1, &info_.id, options_.c_str(), nullptr, nullptr);
  if (error == CL_SUCCESS) {
    program_ = std::move(program);
    return absl::OkStatus();
  }
  const absl::Status status = ClStatus(error, "clBuildProgram");
  size_t bytes = 0;
  api_->clGetProgramBuildInfo(program.get(), info_.id, CL_PROGRAM_BUILD_LOG, 0, nullptr, &bytes);
  std::string log(bytes, '\0');
  if (bytes > 0) {
    api_->clGetProgramBuildInfo(program.get(), info_.id, CL_PROGRAM_BUILD_LOG, bytes, log.data(),
                                nullptr);
  }
  log.resize(std::min(
      {log.find('\0') == std::string::npos ? bytes : log.find('\0'), bytes, kMaxLogBytes}));
  return absl::Status(status.code(), absl::StrCat(status.message(), " on ", info_.name, ": ", log));
}

absl::StatusOr<ClMemoryHandle> ClDevice::NewBuffer(int64_t bytes, cl_mem_flags flags,
                                                   const void* data) const {
  if (bytes > info_.max_buffer_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("a buffer of ", bytes, " bytes; ", info_.name,
                                                     " allows ", info_.max_buffer_bytes));
  }
  cl_int error = CL_SUCCESS;
  if (data != nullptr) flags |= CL_MEM_COPY_HOST_PTR;
  const cl_mem memory = api_->clCreateBuffer(context_.get(), flags, static_cast<size_t>(bytes),
                                             const_cast<void*>(data), &error);
  BITMILL_RETURN_IF_ERROR(ClStatus(error, "clCreateBuffer"));
  return ClMemoryHandle(*api_, memory);
}

absl::StatusOr<ClQueueHandle> ClDevice::NewQueue() const {
  cl_int error = CL_SUCCESS;
  const cl_command_queue queue =
      api_->clCreateCommandQueue(context_.get(), info_.id, CL_QUEUE_PROFILING_ENABLE, &error);
  BITMILL_RETURN_IF_ERROR(ClStatus(error, "clCreateCommandQueue"));
  return ClQueueHandle(*api_, queue);
}

bool ClDevice::HasKernel(const std::string& name) const {
  cl_int error = CL_SUCCESS;
  const ClKernelHandle kernel(*api_, api_->clCreateKernel(program_.get(), name.c_str(), &error));
  return error == CL_SUCCESS;
}

absl::StatusOr<ClKernelHandle> ClDevice::NewKernel(const std::string& name, cl_mem arena,
                                                   cl_mem constants, cl_mem params,
                                                   cl_int step) const {
  cl_int error = CL_SUCCESS;
  ClKernelHandle kernel(*api_, api_->clCreateKernel(program_.get(), name.c_str(), &error));
  BITMILL_RETURN_IF_ERROR(ClStatus(error, absl::StrCat("clCreateKernel(", name, ")")));
  cl_uint index = 0;
  for (const cl_mem memory : {arena, constants, params}) {
    BITMILL_RETURN_IF_ERROR(ClStatus(api_->clSetKernelArg(kernel.get(), index++, kHandleBytes,
                                                          static_cast<const void*>(&memory)),
                                     "clSetKernelArg"));
  }
  BITMILL_RETURN_IF_ERROR(
      ClStatus(api_->clSetKernelArg(kernel.get(), index, sizeof(step), &step), "clSetKernelArg"));
  return kernel;
}

cl_int ClDevice::Enqueue(cl_command_queue queue, cl_kernel kernel, int64_t items, int64_t rows,
                         int32_t group_items, cl_event* event) const {
  const size_t wanted = group_items > 0 ? static_cast<size_t>(group_items) : kGroupItems;
  const size_t group = std::clamp(static_cast<size_t>(info_.max_work_group), size_t{1}, wanted);
  const size_t groups = (static_cast<size_t>(items) + group - 1) / group;
  const size_t line_groups = std::clamp(groups, size_t{1}, kMaxLineItems / group);
  const size_t global[3] = {line_groups * group, (groups + line_groups - 1) / line_groups,
                            static_cast<size_t>(rows)};
  const size_t local[3] = {group, 1, 1};
  return api_->clEnqueueNDRangeKernel(queue, kernel, 3, nullptr, global, local, 0, nullptr, event);
}

// Drivers compile to the end when a kernel is first launched, and PoCL anew for each size of
// work groups and for ranges that are longer than 2^16 in a dimension, which is why no line is: so
// that the program that is saved has everything, each kernel runs once on nothing.
absl::Status ClDevice::RunEachKernel() const {
  BITMILL_ASSIGN_OR_RETURN(const std::string names, KernelNames());
  BITMILL_ASSIGN_OR_RETURN(const ClQueueHandle queue, NewQueue());
  const std::vector<int32_t> zeros(device::kStepParams, 0);  // parameters of a step without items
  const auto bytes = static_cast<int64_t>(zeros.size() * sizeof(zeros[0]));
  BITMILL_ASSIGN_OR_RETURN(const ClMemoryHandle params,
                           NewBuffer(bytes, CL_MEM_READ_ONLY, zeros.data()));
  BITMILL_ASSIGN_OR_RETURN(const ClMemoryHandle other,
                           NewBuffer(bytes, CL_MEM_READ_WRITE, zeros.data()));
  for (const absl::string_view part : absl::StrSplit(names, ';', absl::SkipEmpty())) {
    const std::string name(part);
    BITMILL_ASSIGN_OR_RETURN(const ClKernelHandle kernel,
                             NewKernel(name, other.get(), other.get(), params.get(), 0));
    for (const int32_t group : GroupsOf(name)) {
      BITMILL_RETURN_IF_ERROR(ClStatus(Enqueue(queue.get(), kernel.get(), 1, 1, group, nullptr),
                                       absl::StrCat("clEnqueueNDRangeKernel(", name, ")")));
    }
    BITMILL_RETURN_IF_ERROR(ClStatus(api_->clFinish(queue.get()), "clFinish"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ClDevice::KernelNames() const {
  size_t bytes = 0;
  BITMILL_RETURN_IF_ERROR(
      ClStatus(api_->clGetProgramInfo(program_.get(), CL_PROGRAM_KERNEL_NAMES, 0, nullptr, &bytes),
               "clGetProgramInfo"));
  std::string names(bytes, '\0');
  BITMILL_RETURN_IF_ERROR(ClStatus(
      api_->clGetProgramInfo(program_.get(), CL_PROGRAM_KERNEL_NAMES, bytes, names.data(), nullptr),
      "clGetProgramInfo"));
  names.resize(std::min(names.find('\0'), bytes));
  return names;
}

absl::StatusOr<std::string> ClDevice::Binary() const {
  size_t bytes = 0;
  BITMILL_RETURN_IF_ERROR(ClStatus(api_->clGetProgramInfo(program_.get(), CL_PROGRAM_BINARY_SIZES,
                                                          sizeof(bytes), &bytes, nullptr),
                                   "clGetProgramInfo"));
  if (bytes == 0) return absl::FailedPreconditionError("the driver gives no program binary");
  std::string binary(bytes, '\0');
  auto* data = reinterpret_cast<unsigned char*>(binary.data());
  BITMILL_RETURN_IF_ERROR(
      ClStatus(api_->clGetProgramInfo(program_.get(), CL_PROGRAM_BINARIES, sizeof(data),
                                      static_cast<void*>(&data), nullptr),
               "clGetProgramInfo"));
  return binary;
}

void ClDevice::SaveProgram() const {
  if (!cache_.enabled()) return;
  const absl::StatusOr<std::string> binary = Binary();
  const absl::Status status = binary.ok() ? cache_.Save(key_, *binary) : binary.status();
  if (!status.ok()) LogInfo(absl::StrCat("device program not kept: ", status.message()));
}

}  // namespace bitmill
