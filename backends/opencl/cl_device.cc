#include "backends/opencl/cl_device.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "kernels/opencl/device_source.h"

namespace bitmill {
namespace {

constexpr size_t kGroupItems = 64;
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
          {"source",
           absl::StrCat(source.size(), " ", absl::Hex(HashBytes(source.data(), source.size())))}};
}

}  // namespace

ClDevice::ClDevice(std::shared_ptr<const ClApi> api, const ClDeviceInfo& info,
                   const ProgramCache& cache)
    : api_(std::move(api)),
      info_(info),
      cache_(cache),
      options_(OptionsFor(info)),
      key_(KeyFor(info, options_)),
      group_items_(std::clamp(static_cast<size_t>(info.max_work_group), size_t{1}, kGroupItems)) {}

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
  {
    MutexLock lock(&mutex_);
    saved_.clear();
  }
  BITMILL_RETURN_IF_ERROR(BuildFromSource());
  origin_ = absl::StrCat("compiled in ", elapsed_ms(), " ms");
  return absl::OkStatus();
}

absl::Status ClDevice::BuildFromCache() {
  BITMILL_ASSIGN_OR_RETURN(const CachedProgram cached, cache_.Load(key_));
  {
    MutexLock lock(&mutex_);
    saved_.insert(cached.kernels.begin(), cached.kernels.end());
  }
  const size_t bytes = cached.binary.size();
  const auto* binary = reinterpret_cast<const unsigned char*>(cached.binary.data());
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

absl::StatusOr<ClKernelHandle> ClDevice::NewKernel(const std::string& name) const {
  cl_int error = CL_SUCCESS;
  const cl_kernel kernel = api_->clCreateKernel(program_.get(), name.c_str(), &error);
  BITMILL_RETURN_IF_ERROR(ClStatus(error, absl::StrCat("clCreateKernel(", name, ")")));
  return ClKernelHandle(*api_, kernel);
}

absl::StatusOr<std::string> ClDevice::Binary() const {
  size_t bytes = 0;
  BITMILL_RETURN_IF_ERROR(ClStatus(api_->clGetProgramInfo(program_.get(), CL_PROGRAM_BINARY_SIZES,
                                                          sizeof(bytes), &bytes, nullptr),
                                   "clGetProgramInfo"));
  if (bytes == 0) return absl::FailedPreconditionError("the driver gives no program binary");
  std::string binary(bytes, '\0');
  auto* data = reinterpret_cast<unsigned char*>(binary.data());
  BITMILL_RETURN_IF_ERROR(ClStatus(
      api_->clGetProgramInfo(program_.get(), CL_PROGRAM_BINARIES, sizeof(data), &data, nullptr),
      "clGetProgramInfo"));
  return binary;
}

void ClDevice::NoteKernelsThatRan(const std::set<std::string>& kernels) {
  if (!cache_.enabled()) return;
  std::vector<std::string> all;
  {
    MutexLock lock(&mutex_);
    if (std::includes(saved_.begin(), saved_.end(), kernels.begin(), kernels.end())) return;
    saved_.insert(kernels.begin(), kernels.end());
    all.assign(saved_.begin(), saved_.end());
  }
  absl::StatusOr<std::string> binary = Binary();
  absl::Status status = binary.status();
  if (status.ok()) status = cache_.Save(key_, {*std::move(binary), std::move(all)});
  if (!status.ok()) LogInfo(absl::StrCat("device program not kept: ", status.message()));
}

}  // namespace bitmill
