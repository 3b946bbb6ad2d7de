// A call's deadline on our clock.
#pragma once

#include <chrono>

#include "base/clock.h"
#include "grpcpp/server_context.h"

namespace bitmill {

// 0: the client set none. `now` is the current time of the clock that the result is for.
inline MonotonicNanos DeadlineOf(const grpc::ServerContextBase& context, MonotonicNanos now) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return 0;
  const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
      deadline - std::chrono::system_clock::now());
  return now + left.count();
}

}  // namespace bitmill
