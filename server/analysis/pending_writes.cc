#include "server/analysis/pending_writes.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <numeric>

namespace bitmill {
namespace {

// 0: not a TCP or UDP socket.
int LocalPort(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return 0;
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
  }
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
  }
  return 0;
}

int64_t PendingInSlice(int port, int first_fd) {
  int64_t pending = 0;
  for (int fd = first_fd; fd < first_fd + PendingWrites::kSlice; ++fd) {
    int bytes = 0;
    if (ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 && LocalPort(fd) == port) pending += bytes;
  }
  return pending;
}

}  // namespace

int64_t PendingWrites::Update(int port, int64_t open_descriptors) {
  if (port <= 0) return -1;
  // The lowest free number is always given out next, so that they lie close together.
  const int64_t slices = std::clamp<int64_t>(open_descriptors / kSlice + 1, 1, kSlices);
  std::fill(bytes_.begin() + slices, bytes_.end(), 0);
  next_ = (next_ + 1) % static_cast<size_t>(slices);
  bytes_[next_] = PendingInSlice(port, static_cast<int>(next_) * kSlice);
  return std::accumulate(bytes_.begin(), bytes_.end(), int64_t{0});
}

}  // namespace bitmill
