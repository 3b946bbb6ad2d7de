#include "server/analysis/pending_writes.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

namespace bitmill {
namespace {

constexpr int kMaxDescriptors = 4096;

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

}  // namespace

int64_t PendingWriteBytes(int port, int64_t open_descriptors) {
  if (port <= 0) return -1;
  int64_t pending = 0;
  int64_t seen = 0;
  // The lowest free number is always given out next, so that they lie close together: the search
  // ends with the last of them, not with the largest number.
  for (int fd = 0; fd < kMaxDescriptors && seen < open_descriptors; ++fd) {
    int bytes = 0;
    const bool asked = ioctl(fd, SIOCOUTQ, &bytes) == 0;
    if (asked || errno != EBADF) ++seen;
    if (asked && bytes > 0 && LocalPort(fd) == port) pending += bytes;
  }
  return pending;
}

}  // namespace bitmill
