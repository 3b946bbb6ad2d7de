#include "tools/cmd_devices.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "backends/opencl/cl_device.h"
#include "backends/opencl/cl_devices.h"
#include "backends/opencl/device_speed.h"
#include "base/status_macros.h"
#include "kernels/isa.h"
#include "server/analysis/nvml.h"
#include "tools/cli.h"
#include "tools/opencl_options.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

constexpr double kGiga = 1e9;

struct Found {
  std::shared_ptr<const ClApi> api;
  std::vector<ClDeviceInfo> devices;
};

absl::StatusOr<Found> FindDevices(const std::string& library) {
  Found found;
  BITMILL_ASSIGN_OR_RETURN(found.api, LoadClApi(library.empty() ? kClLoader : library));
  BITMILL_ASSIGN_OR_RETURN(found.devices, ListClDevices(*found.api));
  return found;
}

void PrintDetails(size_t number, const ClDeviceInfo& device) {
  std::printf(
      "\nopencl %zu: %s\n  vendor    %s\n  platform  %s, %s\n  version   %s\n  driver    %s\n"
      "  memory    %s, buffers of at most %s\n  floats    %s, %s\n",
      number, device.name.c_str(), device.vendor.c_str(), device.platform.c_str(),
      device.platform_version.c_str(), device.version.c_str(), device.driver.c_str(),
      Bytes(static_cast<double>(device.memory_bytes)).c_str(),
      Bytes(static_cast<double>(device.max_buffer_bytes)).c_str(),
      device.exact_divide ? "exact division" : "division in double precision",
      device.fp64 ? "double precision" : "no double precision");
}

absl::Status PrintSpeed(size_t number, const Found& found) {
  const std::string folder = DefaultOpenClCache();
  BITMILL_ASSIGN_OR_RETURN(const std::shared_ptr<ClDevice> device,
                           ClDevice::Open(found.api, found.devices[number],
                                          ProgramCache(folder == "off" ? "" : folder)));
  BITMILL_ASSIGN_OR_RETURN(const DeviceSpeed speed, MeasureDeviceSpeed(device));
  std::printf("\nopencl %zu: kernels %s\n  counts    %.1f G 1-bit MAC/s at most\n", number,
              device->origin().c_str(), speed.count_bits / kGiga);
  for (const ConvSpeed& conv : speed.convolutions) {
    std::printf(
        "  convolves %.1f G 1-bit MAC/s, %.0f %% of that (3 x 3, %d x %d pixels, %d channels)\n",
        conv.macs_per_s / kGiga, 100.0 * conv.macs_per_s / speed.count_bits,
        static_cast<int>(conv.side), static_cast<int>(conv.side), static_cast<int>(conv.channels));
  }
  return absl::OkStatus();
}

}  // namespace

void AddDevicesOptions(CLI::App& command, DevicesOptions& options) {
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
  const absl::StatusOr<Found> found = FindDevices(options.opencl_library);
  TextTable table({"backend", "device", "kind", "units", "memory", "state"});
  table.AddRow({"cpu", CpuModelName(), absl::StrCat("CPU, ", IsaName(BestIsa())), "", "", "ready"});
  const std::vector<ClDeviceInfo> none;
  const std::vector<ClDeviceInfo>& devices = found.ok() ? found->devices : none;
  for (size_t i = 0; i < devices.size(); ++i) {
    const ClDeviceInfo& device = devices[i];
    table.AddRow({absl::StrCat("opencl ", i), device.name,
                  absl::StrCat(device.type_name(), ", ", device.platform),
                  absl::StrCat(device.compute_units),
                  Bytes(static_cast<double>(device.memory_bytes)),
                  device.problem.empty() ? "usable, experimental"
                                         : absl::StrCat("unusable: ", device.problem)});
  }
  std::printf("%s", table.Text().c_str());
  if (!found.ok()) std::printf("opencl: %s\n", std::string(found.status().message()).c_str());
  int status = kExitOk;
  for (size_t i = 0; i < devices.size(); ++i) {
    if (options.verbose) PrintDetails(i, devices[i]);
    if (!options.measure || !devices[i].problem.empty()) continue;
    const absl::Status measured = PrintSpeed(i, *found);
    if (!measured.ok()) status = PrintError(measured.message(), "");
  }
  if (options.verbose) PrintGpus();
  return status;
}

}  // namespace bitmill
