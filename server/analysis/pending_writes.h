// Bytes that were handed to the kernel for clients and that they have not acknowledged yet.
#pragma once

#include <cstdint>

namespace bitmill {

// Over the TCP connections of this process whose local port is `port`; -1 when the port is not
// above 0. One system call for each descriptor and none that walks the machine's connections, as
// /proc/net/tcp does; at most the 4,096 lowest descriptors are asked. What a transport keeps in its
// own memory because a client's flow control holds it back is not among them. Thread-safe.
int64_t PendingWriteBytes(int port, int64_t open_descriptors);

}  // namespace bitmill
