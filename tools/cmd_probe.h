// bitmill probe: asks a server's health service once; for containers and scripts.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace bitmill {

struct ProbeOptions {
  std::string address = "127.0.0.1:8001";
  std::string service = "readiness";
  std::string timeout = "1s";
  bool quiet = false;
};

void AddProbeOptions(CLI::App& command, ProbeOptions& options);

// The exit status: 0 serving, 1 not serving or not reachable, 2 misuse. Prints which.
int RunProbe(const ProbeOptions& options);

}  // namespace bitmill
