#include "tools/load/transport.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kNanosPerMilli = 1'000'000;
constexpr int64_t kReconnectMillis = 200, kReconnectPauseNanos = 10 * kNanosPerMilli;

// Waits for events on one socket; false when none came before `deadline`.
bool WaitFor(int socket, short events, MonotonicNanos deadline) {
  const SystemClock clock;
  pollfd descriptor = {socket, events, 0};
  while (true) {
    const int64_t left = deadline - clock.Now();
    if (left <= 0) return false;
    const int count =
        poll(&descriptor, 1, static_cast<int>(std::min<int64_t>(left / kNanosPerMilli + 1, 1000)));
    if (count > 0) return true;
  }
}

// A connected, non-blocking socket.
absl::StatusOr<int> ConnectSocket(const addrinfo& address, MonotonicNanos deadline) {
  const int socket_fd = socket(
      address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol);
  if (socket_fd < 0) return absl::UnavailableError(strerror(errno));
  auto closer = absl::MakeCleanup([socket_fd] { close(socket_fd); });
  if (connect(socket_fd, address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return absl::UnavailableError(strerror(errno));
    if (!WaitFor(socket_fd, POLLOUT, deadline)) return absl::UnavailableError("no answer");
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(socket_fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return absl::UnavailableError(strerror(error));
  }
  const int on = 1;
  setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  std::move(closer).Cancel();
  return socket_fd;
}

}  // namespace

absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view address) {
  absl::string_view rest = address;
  for (const char* scheme : {"dns:///", "dns:", "ipv4:", "ipv6:"}) {
    if (absl::ConsumePrefix(&rest, scheme)) break;
  }
  const size_t colon = rest.rfind(':');
  int port = 0;
  absl::string_view host = rest.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  if (colon == absl::string_view::npos || host.empty() ||
      !absl::SimpleAtoi(rest.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("address '", address, "' is not HOST:PORT, as in 127.0.0.1:8001"));
  }
  return Endpoint{std::string(host), absl::StrCat(port)};
}

absl::StatusOr<std::unique_ptr<Transport>> Transport::Connect(const std::string& address,
                                                              int connections, CallOptions options,
                                                              Http2Connection::Done done,
                                                              int64_t timeout_ms) {
  BITMILL_ASSIGN_OR_RETURN(Endpoint endpoint, ParseEndpoint(address));
  std::unique_ptr<Transport> transport(
      new Transport(std::move(endpoint), std::move(options), std::move(done)));
  for (int i = 0; i < connections; ++i) {
    absl::StatusOr<std::unique_ptr<Http2Connection>> opened = transport->Open(timeout_ms);
    if (!opened.ok()) {
      return absl::UnavailableError(
          absl::StrCat("no gRPC server at ", address, ": ", opened.status().message(),
                       "; start one with 'bitmill serve', or check host and port"));
    }
    transport->links_.emplace_back().now = *std::move(opened);
  }
  return transport;
}

absl::StatusOr<std::unique_ptr<Http2Connection>> Transport::Open(int64_t timeout_ms) {
  const MonotonicNanos deadline = clock_.Now() + timeout_ms * kNanosPerMilli;
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(endpoint_.host.c_str(), endpoint_.port.c_str(), &hints, &found);
  if (error != 0) return absl::UnavailableError(gai_strerror(error));
  const auto cleanup = absl::MakeCleanup([found] { freeaddrinfo(found); });
  absl::StatusOr<int> socket_fd = absl::UnavailableError("no address");
  for (const addrinfo* at = found; at != nullptr && !socket_fd.ok(); at = at->ai_next) {
    socket_fd = ConnectSocket(*at, deadline);
  }
  if (!socket_fd.ok()) return socket_fd.status();
  auto connection = std::make_unique<Http2Connection>(*socket_fd, options_, done_);
  while (!connection->ready()) {
    BITMILL_RETURN_IF_ERROR(connection->Flush());
    if (!WaitFor(*socket_fd, POLLIN, deadline)) {
      return absl::UnavailableError("it takes connections but does not speak HTTP/2");
    }
    BITMILL_RETURN_IF_ERROR(connection->Receive());
  }
  return connection;
}

Http2Connection* Transport::Usable(Link& link) {
  if (link.now != nullptr && !link.now->closing()) return link.now.get();
  if (link.now != nullptr) link.closing.push_back(std::move(link.now));
  if (clock_.Now() < link.next_attempt) return nullptr;
  absl::StatusOr<std::unique_ptr<Http2Connection>> opened = Open(kReconnectMillis);
  if (!opened.ok()) {
    last_error_ = absl::UnavailableError(opened.status().message());
    link.next_attempt = clock_.Now() + kReconnectPauseNanos;
    return nullptr;
  }
  link.now = *std::move(opened);
  return link.now.get();
}

void Transport::Start(size_t call, absl::string_view message) {
  Http2Connection* const connection = Usable(links_[call % links_.size()]);
  if (connection == nullptr) {
    failures_.push_back({call, last_error_});
    return;
  }
  connection->Start(call, message);
}

void Transport::Cancel(size_t call) {
  Link& link = links_[call % links_.size()];
  if (link.now != nullptr) link.now->Cancel(call);
  for (const auto& connection : link.closing) connection->Cancel(call);
  const auto is_call = [call](const Failure& failure) { return failure.call == call; };
  failures_.erase(std::remove_if(failures_.begin(), failures_.end(), is_call), failures_.end());
}

void Transport::Drop(std::unique_ptr<Http2Connection> connection, const absl::Status& status) {
  for (const size_t call : connection->Unfinished()) failures_.push_back({call, status});
}

absl::Status Transport::Serve(Http2Connection& connection, bool readable) {
  if (readable) BITMILL_RETURN_IF_ERROR(connection.Receive());
  return connection.Flush();
}

void Transport::Poll(MonotonicNanos deadline) {
  if (!failures_.empty()) {
    for (const Failure& failure : std::exchange(failures_, {})) {
      done_(failure.call, failure.status, {});
    }
    // Callers start again at once: without a connection, not in a tight loop.
    const bool connected = std::any_of(links_.begin(), links_.end(),
                                       [](const Link& link) { return link.now != nullptr; });
    deadline = std::min(deadline, connected ? 0 : clock_.Now() + kNanosPerMilli);
  }
  std::vector<pollfd> descriptors;
  for (Link& link : links_) {
    if (link.now != nullptr) {
      const absl::Status flushed = link.now->Flush();
      if (!flushed.ok()) Drop(std::move(link.now), flushed);
    }
    const auto add = [&descriptors](const Http2Connection& connection) {
      const short events = connection.wants_to_write() ? POLLIN | POLLOUT : POLLIN;
      descriptors.push_back({connection.socket(), events, 0});
    };
    if (link.now != nullptr) add(*link.now);
    for (const auto& connection : link.closing) add(*connection);
  }
  if (!failures_.empty() && !descriptors.empty()) deadline = 0;
  const int64_t left = std::max<int64_t>(0, deadline - clock_.Now());
  const timespec timeout = {left / 1'000'000'000, left % 1'000'000'000};
  if (ppoll(descriptors.data(), descriptors.size(), &timeout, nullptr) <= 0) return;

  size_t next = 0;
  for (Link& link : links_) {
    // Connections that a callback opens meanwhile were not polled: count those that were.
    const bool had_now = link.now != nullptr;
    const size_t closing = link.closing.size();
    const auto serve = [&](std::unique_ptr<Http2Connection>& connection) {
      const short events = descriptors[next++].revents;
      if (events == 0) return;
      Http2Connection* const raw = connection.get();
      const absl::Status status = Serve(*raw, (events & ~POLLOUT) != 0);
      if (status.ok()) return;
      // A callback may have moved it to the closing ones.
      if (link.now.get() == raw) {
        Drop(std::move(link.now), status);
      } else {
        for (auto& other : link.closing) {
          if (other.get() == raw) Drop(std::exchange(other, nullptr), status);
        }
      }
    };
    if (had_now) serve(link.now);
    for (size_t i = 0; i < closing; ++i) {
      if (link.closing[i] == nullptr) {
        ++next;
      } else {
        serve(link.closing[i]);
      }
    }
    const auto finished = [](const std::unique_ptr<Http2Connection>& connection) {
      return connection == nullptr || connection->calls() == 0;
    };
    link.closing.erase(std::remove_if(link.closing.begin(), link.closing.end(), finished),
                       link.closing.end());
  }
}

}  // namespace bitmill
