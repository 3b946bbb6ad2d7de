#include "tools/cmd_devices.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/cuda/cuda_device.h"
#include "backends/cuda/cuda_devices.h"
#include "backends/cuda/cuda_plan_device.h"
#include "backends/device/device_speed.h"
#include "backends/opencl/cl_device.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/cl_plan_device.h"
#include "base/status_macros.h"
#include "kernels/cuda/device_image.h"
#include "kernels/isa.h"
#include "server/analysis/nvml.h"
#include "tools/cli.h"
#include "tools/opencl_options.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

constexpr double kGiga = 1e9;

std::string SizeText(int64_t bytes) { return Bytes(static_cast<double>(bytes)); }

// A device as the command shows it.
struct Shown {
  std::string label;  // "opencl 0"
  std::vector<std::string> cells;
  std::string details;
  bool usable = false;
  std::function<absl::StatusOr<std::shared_ptr<const PlanDevice>>()> open;
};

std::string StateOf(const std::string& problem) {
  return problem.empty() ? "usable, experimental" : absl::StrCat("unusable: ", problem);
}

Shown ShowOpenCl(std::shared_ptr<const ClApi> api, const ClDeviceInfo& device, size_t number) {
  Shown shown;
  shown.label = absl::StrCat("opencl ", number);
  shown.cells = {shown.label,
                 device.name,
                 absl::StrCat(device.type_name(), ", ", device.platform),
                 absl::StrCat(device.compute_units),
                 SizeText(device.memory_bytes),
                 StateOf(device.problem)};
  shown.details =
      absl::StrCat("  vendor    ", device.vendor, "\n  platform  ", device.platform, ", ",
                   device.platform_version, "\n  version   ", device.version, "\n  driver    ",
                   device.driver, "\n  memory    ", SizeText(device.memory_bytes),
                   ", buffers of at most ", SizeText(device.max_buffer_bytes), "\n  floats    ",
                   device.exact_divide ? "exact division" : "division in double precision", ", ",
                   device.fp64 ? "double precision" : "no double precision", "\n");
  shown.usable = device.problem.empty();
  shown.open = [api = std::move(api),
                device]() -> absl::StatusOr<std::shared_ptr<const PlanDevice>> {
    const std::string folder = DefaultOpenClCache();
    BITMILL_ASSIGN_OR_RETURN(
        std::shared_ptr<ClDevice> opened,
        ClDevice::Open(api, device, ProgramCache(folder == "off" ? "" : folder)));
    return MakeClPlanDevice(std::move(opened));
  };
  return shown;
}

Shown ShowCuda(std::shared_ptr<const CudaApi> api, const CudaDeviceInfo& device) {
  const std::string problem = !device.problem.empty() ? device.problem
                              : CudaImage().empty()   ? "this program has no CUDA kernels"
                                                      : "";
  Shown shown;
  shown.label = absl::StrCat("cuda ", device.number);
  shown.cells = {shown.label,
                 device.name,
                 absl::StrCat("GPU, capability ", device.capability_text()),
                 absl::StrCat(device.multiprocessors),
                 SizeText(device.memory_bytes),
                 StateOf(problem)};
  shown.details =
      absl::StrCat("  driver    for CUDA ", CudaVersionText(api->driver_version), " (",
                   api->library, ")\n  clock     ", device.clock_mhz, " MHz\n  memory    ",
                   SizeText(device.memory_bytes), device.integrated ? ", the host's" : "",
                   device.memory_bytes_per_s > 0
                       ? absl::StrCat(", ", SizeText(device.memory_bytes_per_s), "/s by its clock")
                       : "",
                   "\n  shared    ", SizeText(device.max_shared_bytes), " a block\n  graphs    ",
                   api->has_graphs() ? "yes" : "no", "\n");
  shown.usable = problem.empty();
  shown.open = [api = std::move(api),
                device]() -> absl::StatusOr<std::shared_ptr<const PlanDevice>> {
    BITMILL_ASSIGN_OR_RETURN(std::shared_ptr<CudaDevice> opened,
                             CudaDevice::Open(api, device, CudaImage()));
    return MakeCudaPlanDevice(std::move(opened));
  };
  return shown;
}

// Appends the devices; an error says why there are none.
absl::Status FindOpenCl(const std::string& library, std::vector<Shown>& shown) {
  BITMILL_ASSIGN_OR_RETURN(const std::shared_ptr<const ClApi> api,
                           LoadClApi(library.empty() ? kClLoader : library));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<ClDeviceInfo> devices, ListClDevices(*api));
  for (size_t i = 0; i < devices.size(); ++i) shown.push_back(ShowOpenCl(api, devices[i], i));
  return absl::OkStatus();
}

absl::Status FindCuda(const std::string& library, std::vector<Shown>& shown) {
  BITMILL_ASSIGN_OR_RETURN(const std::shared_ptr<const CudaApi> api,
                           LoadCudaApi(library.empty() ? kCudaDriver : library));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<CudaDeviceInfo> devices, ListCudaDevices(*api));
  for (const CudaDeviceInfo& device : devices) shown.push_back(ShowCuda(api, device));
  return absl::OkStatus();
}

absl::Status PrintSpeed(const Shown& shown) {
  BITMILL_ASSIGN_OR_RETURN(const std::shared_ptr<const PlanDevice> device, shown.open());
  BITMILL_ASSIGN_OR_RETURN(const DeviceSpeed speed, MeasureDeviceSpeed(device));
  std::printf("\n%s: %s\n", shown.label.c_str(), device->Description().c_str());
  if (speed.count_bits > 0) {
    std::printf("  counts    %.1f G 1-bit MAC/s at most\n", speed.count_bits / kGiga);
  }
  if (speed.product_bits > 0) {
    std::printf("  products  %.1f G 1-bit MAC/s at most, on tensor cores\n",
                speed.product_bits / kGiga);
  }
  for (const ConvSpeed& conv : speed.convolutions) {  // in its fastest tile
    const std::string share =
        speed.limit() > 0
            ? absl::StrFormat(", %.0f %% of that", 100.0 * conv.macs_per_s / speed.limit())
            : "";
    std::printf("  convolves %.1f G 1-bit MAC/s%s (3 x 3, %d x %d pixels, %d channels%s%s)\n",
                conv.macs_per_s / kGiga, share.c_str(), static_cast<int>(conv.side),
                static_cast<int>(conv.side), static_cast<int>(conv.channels),
                conv.tile.empty() ? "" : "; ", conv.tile.c_str());
  }
  return absl::OkStatus();
}

void PrintAbsence(const char* backend, const absl::Status& why) {
  if (!why.ok()) std::printf("%s: %s\n", backend, std::string(why.message()).c_str());
}

}  // namespace

void AddDevicesOptions(CLI::App& command, DevicesOptions& options) {
  command
      .add_option("--cuda-library", options.cuda_library,
                  absl::StrCat("CUDA driver, instead of ", kCudaDriver))
      ->type_name("FILE");
  command
      .add_option("--opencl-library", options.opencl_library,
                  absl::StrCat("OpenCL loader, instead of ", kClLoader))
      ->type_name("FILE");
  command.add_flag("--measure", options.measure,
                   "How fast each device counts bits, and how near to that a binary layer comes");
  command.add_flag("-v,--verbose", options.verbose, "Versions, drivers and memory as well");
}

void PrintGpus() {
  const absl::StatusOr<std::unique_ptr<Nvml>> nvml = Nvml::Open();
  if (!nvml.ok()) {
    std::printf("\nnvml: %s\n", std::string(nvml.status().message()).c_str());
    return;
  }
  const auto line = [](const char* name, double value, const char* unit) {
    if (value >= 0) std::printf("  %-9s %.4g %s\n", name, value, unit);
  };
  for (const GpuReading& gpu : (*nvml)->Read()) {
    std::printf("\ngpu %d: %s, %s\n", gpu.index, gpu.name.c_str(), gpu.uuid.c_str());
    if (gpu.memory_total_bytes >= 0) {
      std::printf("  memory    %s of %s in use\n",
                  Bytes(static_cast<double>(gpu.memory_used_bytes)).c_str(),
                  Bytes(static_cast<double>(gpu.memory_total_bytes)).c_str());
    }
    line("busy", gpu.busy_share < 0 ? -1 : 100 * gpu.busy_share, "%");
    line("power", gpu.watts, "W");
    line("clock", static_cast<double>(gpu.sm_clock_mhz), "MHz");
    line("heat", static_cast<double>(gpu.temperature_celsius), "degrees Celsius");
  }
}

int RunDevices(const DevicesOptions& options) {
  std::vector<Shown> devices;
  const absl::Status opencl = FindOpenCl(options.opencl_library, devices);
  const absl::Status cuda = FindCuda(options.cuda_library, devices);
  TextTable table({"backend", "device", "kind", "units", "memory", "state"});
  table.AddRow({"cpu", CpuModelName(), absl::StrCat("CPU, ", IsaName(BestIsa())), "", "", "ready"});
  for (const Shown& device : devices) table.AddRow(device.cells);
  std::printf("%s", table.Text().c_str());
  PrintAbsence("opencl", opencl);
  PrintAbsence("cuda", cuda);
  int status = kExitOk;
  for (const Shown& device : devices) {
    if (options.verbose) {
      std::printf("\n%s: %s\n%s", device.label.c_str(), device.cells[1].c_str(),
                  device.details.c_str());
    }
    if (!options.measure || !device.usable) continue;
    const absl::Status measured = PrintSpeed(device);
    if (!measured.ok()) status = PrintError(measured.message(), "");
  }
  if (options.verbose) PrintGpus();
  return status;
}

}  // namespace bitmill
