// What the server under load costs, when it runs on this machine: CPU time and memory of its
// process and everything that it started, read from /proc and the process clock.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"

namespace bitmill {

// The process that listens on this TCP port of this machine; nullopt when there is none or we may
// not look (another user's process).
std::optional<int> FindListener(int port);

// The port of "127.0.0.1:8001", "localhost:8001", "[::1]:8001" (also behind "ipv4:", "dns:///");
// nullopt when the address is not this machine's loopback.
std::optional<int> LoopbackPort(absl::string_view address);

class ServerProcess {
 public:
  // `pid` and its descendants at this moment. nullopt when there is no such process.
  static std::optional<ServerProcess> Find(int pid);

  int pid() const { return pids_.front(); }
  // User and system time of all of them so far; processes that ended count as zero.
  int64_t CpuNanos() const;
  // Resident memory now.
  int64_t RssBytes() const;

 private:
  explicit ServerProcess(std::vector<int> pids) : pids_(std::move(pids)) {}
  std::vector<int> pids_;
};

}  // namespace bitmill
