// SIGTERM and SIGINT as an event. The first asks for a graceful end, the second ends the process at
// once, and so does a grace period that is over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"

namespace bitmill {

class ShutdownSignal {
 public:
  // Blocks both signals in the calling thread: call it before any other thread is started, so that
  // all inherit the mask. `on_first` is called on a thread of its own with the signal's number;
  // `limit_seconds` after it the process ends with status 1, a second signal ends it with 128 plus
  // its number.
  static absl::StatusOr<std::unique_ptr<ShutdownSignal>> Create(std::function<void(int)> on_first,
                                                                double limit_seconds);
  // The signals stay blocked.
  ~ShutdownSignal();
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;

 private:
  ShutdownSignal(int signal_fd, int stop_fd, std::function<void(int)> on_first,
                 double limit_seconds);
  void Run();

  const int signal_fd_, stop_fd_;
  const std::function<void(int)> on_first_;
  const double limit_seconds_;
  std::thread thread_;
};

}  // namespace bitmill
