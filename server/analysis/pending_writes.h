// Bytes that were handed to the kernel for clients and that they have not acknowledged yet.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bitmill {

// Asks the descriptors of this process, one system call for each, and does not walk the machine's
// connections as /proc/net/tcp does. With more than kSlice of them a call asks one slice, and takes
// the others as they were; of more than kSlice * kSlices the lowest are asked. What a transport
// keeps in its own memory because a client's flow control holds it back is not among the bytes.
// Used by one thread.
class PendingWrites {
 public:
  static constexpr int kSlice = 256, kSlices = 16;

  // Over the TCP connections whose local port is `port`; -1 when that is not above 0.
  int64_t Update(int port, int64_t open_descriptors);

 private:
  std::array<int64_t, kSlices> bytes_{};
  size_t next_ = 0;
};

}  // namespace bitmill
