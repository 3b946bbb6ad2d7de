#include "tools/opencl_options.h"

#include <cstdlib>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"

namespace bitmill {

std::string DefaultOpenClCache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return absl::StrCat(cache, "/bitmill");
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return absl::StrCat(home, "/.cache/bitmill");
  }
  return "off";
}

void AddOpenClOptions(CLI::App& command, std::string& device, std::string& cache) {
  cache = DefaultOpenClCache();
  command
      .add_option("--opencl-device", device,
                  "OpenCL device: its number or a part of its name in 'bitmill devices'; none: the "
                  "first GPU, accelerator or CPU")
      ->type_name("DEVICE")
      ->group("Computation");
  command
      .add_option("--opencl-cache", cache,
                  "Folder where compiled OpenCL kernels are kept, so that the next start is fast; "
                  "or off")
      ->type_name("DIR|off")
      ->capture_default_str()
      ->group("Computation");
}

}  // namespace bitmill
