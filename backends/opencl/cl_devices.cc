#include "backends/opencl/cl_devices.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// A text of clGetDeviceInfo or clGetPlatformInfo: get(bytes, data, bytes needed).
template <typename Get>
std::string TextOf(Get get) {
  size_t bytes = 0;
  if (get(size_t{0}, nullptr, &bytes) != CL_SUCCESS || bytes == 0) return "";
  std::string text(bytes, '\0');
  if (get(bytes, text.data(), nullptr) != CL_SUCCESS) return "";
  text.resize(text.find('\0') == std::string::npos ? bytes : text.find('\0'));
  absl::StripAsciiWhitespace(&text);
  return text;
}

class DeviceReader {
 public:
  DeviceReader(const ClApi& api, cl_device_id device) : api_(api), device_(device) {}

  std::string Text(cl_device_info what) const {
    return TextOf([&](size_t bytes, void* data, size_t* needed) {
      return api_.clGetDeviceInfo(device_, what, bytes, data, needed);
    });
  }
  template <typename T>
  T Number(cl_device_info what) const {
    T value{};
    if (api_.clGetDeviceInfo(device_, what, sizeof(value), &value, nullptr) != CL_SUCCESS) {
      return T{};
    }
    return value;
  }

 private:
  const ClApi& api_;
  cl_device_id device_;
};

// "OpenCL 1.2 ..." or newer, as every version string begins.
bool IsAtLeast12(const std::string& version) {
  int major = 0, minor = 0;
  const std::string number = version.substr(std::min(version.size(), size_t{7}), 3);
  if (number.size() < 3 || !absl::SimpleAtoi(number.substr(0, 1), &major) ||
      !absl::SimpleAtoi(number.substr(2, 1), &minor)) {
    return false;
  }
  return major > 1 || minor >= 2;
}

std::string ProblemOf(const DeviceReader& device, const ClDeviceInfo& info) {
  if (device.Number<cl_bool>(CL_DEVICE_AVAILABLE) == CL_FALSE) return "not available";
  if (device.Number<cl_bool>(CL_DEVICE_COMPILER_AVAILABLE) == CL_FALSE) return "no compiler";
  if (device.Number<cl_bool>(CL_DEVICE_ENDIAN_LITTLE) == CL_FALSE) return "big-endian";
  if (!IsAtLeast12(info.version)) return absl::StrCat("version '", info.version, "', 1.2 needed");
  if (!info.exact_divide && !info.fp64) return "neither exact division nor double precision";
  return "";
}

ClDeviceInfo ReadDevice(const ClApi& api, cl_platform_id platform, cl_device_id id) {
  const DeviceReader device(api, id);
  const auto platform_text = [&](cl_platform_info what) {
    return TextOf([&](size_t bytes, void* data, size_t* needed) {
      return api.clGetPlatformInfo(platform, what, bytes, data, needed);
    });
  };
  ClDeviceInfo info;
  info.platform_id = platform;
  info.id = id;
  info.name = device.Text(CL_DEVICE_NAME);
  info.vendor = device.Text(CL_DEVICE_VENDOR);
  info.driver = device.Text(CL_DRIVER_VERSION);
  info.version = device.Text(CL_DEVICE_VERSION);
  info.platform = platform_text(CL_PLATFORM_NAME);
  info.platform_version = platform_text(CL_PLATFORM_VERSION);
  info.type = device.Number<cl_device_type>(CL_DEVICE_TYPE);
  info.compute_units = device.Number<cl_uint>(CL_DEVICE_MAX_COMPUTE_UNITS);
  info.clock_mhz = device.Number<cl_uint>(CL_DEVICE_MAX_CLOCK_FREQUENCY);
  info.memory_bytes = static_cast<int64_t>(device.Number<cl_ulong>(CL_DEVICE_GLOBAL_MEM_SIZE));
  info.max_buffer_bytes =
      static_cast<int64_t>(device.Number<cl_ulong>(CL_DEVICE_MAX_MEM_ALLOC_SIZE));
  info.max_work_group = static_cast<int64_t>(device.Number<size_t>(CL_DEVICE_MAX_WORK_GROUP_SIZE));
  info.fp64 = device.Number<cl_device_fp_config>(CL_DEVICE_DOUBLE_FP_CONFIG) != 0;
  info.exact_divide = (device.Number<cl_device_fp_config>(CL_DEVICE_SINGLE_FP_CONFIG) &
                       CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
  info.problem = ProblemOf(device, info);
  return info;
}

absl::StatusOr<std::vector<ClDeviceInfo>> DevicesOf(const ClApi& api, cl_platform_id platform) {
  cl_uint count = 0;
  BITMILL_RETURN_IF_ERROR(ClStatus(
      api.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, nullptr, &count), "clGetDeviceIDs"));
  std::vector<cl_device_id> ids(count);
  BITMILL_RETURN_IF_ERROR(
      ClStatus(api.clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, ids.data(), nullptr),
               "clGetDeviceIDs"));
  std::vector<ClDeviceInfo> devices;
  devices.reserve(ids.size());
  for (const cl_device_id id : ids) devices.push_back(ReadDevice(api, platform, id));
  return devices;
}

std::string NamesOf(const std::vector<ClDeviceInfo>& devices) {
  std::string text;
  for (size_t i = 0; i < devices.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", i, ": ", devices[i].name);
  }
  return text;
}

bool Contains(const std::string& text, const std::string& part) {
  return absl::StrContains(absl::AsciiStrToLower(text), absl::AsciiStrToLower(part));
}

}  // namespace

const char* ClDeviceInfo::type_name() const {
  if ((type & CL_DEVICE_TYPE_GPU) != 0) return "GPU";
  if ((type & CL_DEVICE_TYPE_ACCELERATOR) != 0) return "accelerator";
  if ((type & CL_DEVICE_TYPE_CPU) != 0) return "CPU";
  return "device";
}

absl::StatusOr<std::vector<ClDeviceInfo>> ListClDevices(const ClApi& api) {
  constexpr char kAdvice[] = "install a driver, for example the package pocl-opencl-icd";
  cl_uint count = 0;
  const absl::Status found = ClStatus(api.clGetPlatformIDs(0, nullptr, &count), "clGetPlatformIDs");
  if (absl::IsNotFound(found) || (found.ok() && count == 0)) {
    return absl::NotFoundError(absl::StrCat("no OpenCL platform; ", kAdvice));
  }
  BITMILL_RETURN_IF_ERROR(found);
  std::vector<cl_platform_id> platforms(count);
  BITMILL_RETURN_IF_ERROR(
      ClStatus(api.clGetPlatformIDs(count, platforms.data(), nullptr), "clGetPlatformIDs"));
  std::vector<ClDeviceInfo> devices;
  absl::Status first_error = absl::NotFoundError(absl::StrCat("no OpenCL device; ", kAdvice));
  for (const cl_platform_id platform : platforms) {
    absl::StatusOr<std::vector<ClDeviceInfo>> some = DevicesOf(api, platform);
    if (!some.ok()) {
      if (!absl::IsNotFound(some.status())) first_error = some.status();
      continue;
    }
    devices.insert(devices.end(), some->begin(), some->end());
  }
  if (devices.empty()) return first_error;
  return devices;
}

absl::StatusOr<ClDeviceInfo> ChooseClDevice(const std::vector<ClDeviceInfo>& devices,
                                            const std::string& wanted) {
  if (wanted.empty()) {
    for (const cl_device_type type :
         {cl_device_type{CL_DEVICE_TYPE_GPU}, cl_device_type{CL_DEVICE_TYPE_ACCELERATOR},
          cl_device_type{CL_DEVICE_TYPE_CPU}, cl_device_type{CL_DEVICE_TYPE_ALL}}) {
      for (const ClDeviceInfo& device : devices) {
        if ((device.type & type) != 0 && device.problem.empty()) return device;
      }
    }
    return absl::FailedPreconditionError(
        absl::StrCat("no usable OpenCL device: ",
                     devices.empty() ? "there is none"
                                     : absl::StrCat(devices[0].name, ": ", devices[0].problem)));
  }
  size_t number = 0;
  const bool numbered = absl::SimpleAtoi(wanted, &number);
  for (size_t i = 0; i < devices.size(); ++i) {
    const ClDeviceInfo& device = devices[i];
    const bool named = Contains(device.name, wanted) || Contains(device.platform, wanted);
    if (numbered ? number != i : !named) continue;
    if (device.problem.empty()) return device;
    return absl::FailedPreconditionError(
        absl::StrCat("OpenCL device ", device.name, " cannot be used: ", device.problem));
  }
  return absl::NotFoundError(
      absl::StrCat("no OpenCL device '", wanted, "'; there are ", NamesOf(devices)));
}

}  // namespace bitmill
