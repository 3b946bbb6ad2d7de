#include "tools/cmd_devices.h"

#include <cstdio>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "backends/opencl/cl_devices.h"
#include "base/status_macros.h"
#include "kernels/isa.h"
#include "tools/cli.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

absl::StatusOr<std::vector<ClDeviceInfo>> FindDevices(const std::string& library) {
  BITMILL_ASSIGN_OR_RETURN(const std::shared_ptr<const ClApi> api,
                           LoadClApi(library.empty() ? kClLoader : library));
  return ListClDevices(*api);
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

}  // namespace

void AddDevicesOptions(CLI::App& command, DevicesOptions& options) {
  command
      .add_option("--opencl-library", options.opencl_library,
                  absl::StrCat("OpenCL loader, instead of ", kClLoader))
      ->type_name("FILE");
  command.add_flag("-v,--verbose", options.verbose, "Versions, drivers and memory as well");
}

int RunDevices(const DevicesOptions& options) {
  const absl::StatusOr<std::vector<ClDeviceInfo>> devices = FindDevices(options.opencl_library);
  TextTable table({"backend", "device", "kind", "units", "memory", "state"});
  table.AddRow({"cpu", CpuModelName(), absl::StrCat("CPU, ", IsaName(BestIsa())), "", "", "ready"});
  if (devices.ok()) {
    for (size_t i = 0; i < devices->size(); ++i) {
      const ClDeviceInfo& device = (*devices)[i];
      table.AddRow(
          {absl::StrCat("opencl ", i), device.name,
           absl::StrCat(device.type_name(), ", ", device.platform),
           absl::StrCat(device.compute_units), Bytes(static_cast<double>(device.memory_bytes)),
           device.problem.empty() ? "usable" : absl::StrCat("unusable: ", device.problem)});
    }
  }
  std::printf("%s", table.Text().c_str());
  if (!devices.ok()) {
    std::printf("opencl: %s\n", std::string(devices.status().message()).c_str());
    return kExitOk;
  }
  for (size_t i = 0; options.verbose && i < devices->size(); ++i) PrintDetails(i, (*devices)[i]);
  return kExitOk;
}

}  // namespace bitmill
