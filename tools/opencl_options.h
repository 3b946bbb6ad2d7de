// The options of the OpenCL backend, and where compiled kernels are kept if nobody says.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace bitmill {

// --opencl-device and --opencl-cache; `cache` becomes a folder or "off".
void AddOpenClOptions(CLI::App& command, std::string& device, std::string& cache);

// bitmill in $XDG_CACHE_HOME or $HOME/.cache; "off" when neither is set.
std::string DefaultOpenClCache();

}  // namespace bitmill
