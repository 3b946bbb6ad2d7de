// What the kernel says about this process.
#pragma once

#include <cstdint>
#include <string>

namespace bitmill {

struct ProcessMetrics {
  double cpu_seconds = 0;  // user and system, of all threads
  int64_t resident_bytes = 0, virtual_bytes = 0;
  int64_t threads = 0;
  int64_t open_fds = 0, max_fds = 0;
  double start_unix_seconds = 0;
};

// Reads /proc below `filesystem_root` ("" in production). What cannot be read stays 0.
ProcessMetrics ReadProcessMetrics(const std::string& filesystem_root = "");

}  // namespace bitmill
