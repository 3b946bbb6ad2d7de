// bitmill devices: what models can run on here.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace bitmill {

struct DevicesOptions {
  std::string opencl_library;  // the loader; empty: the usual one
  std::string cuda_library;    // the driver; empty: the usual one
  bool measure = false;
  bool verbose = false;
};

void AddDevicesOptions(CLI::App& command, DevicesOptions& options);

// Prints a table and, where OpenCL or CUDA is not to be had, a line each that says why. 0 in either
// case: the CPU is always there; 1 when a device that is to be measured fails.
int RunDevices(const DevicesOptions& options);

}  // namespace bitmill
