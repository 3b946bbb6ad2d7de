#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>

#include "server/tracing/trace_transport.h"

namespace bitmill {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// A port of this machine that takes connections and never says a word.
class SilentPort {
 public:
  SilentPort() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(fd_, 4), 0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    endpoint_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~SilentPort() { Close(); }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  const std::string& endpoint() const { return endpoint_; }

 private:
  int fd_;
  std::string endpoint_;
};

TEST(OtlpTransportTest, IsUnavailableWhenNobodyListens) {
  SilentPort port;
  port.Close();
  const std::unique_ptr<TraceTransport> transport = CreateOtlpTransport(port.endpoint());
  const std::atomic<bool> stop{false};
  EXPECT_EQ(transport->Send("", 60 * kSecond, &stop).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(OtlpTransportTest, GivesUpAfterItsTime) {
  const SilentPort port;
  const std::unique_ptr<TraceTransport> transport = CreateOtlpTransport(port.endpoint());
  EXPECT_EQ(transport->Send("", kSecond / 20, nullptr).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(OtlpTransportTest, GivesUpWhenItIsToldTo) {
  const SilentPort port;
  const std::unique_ptr<TraceTransport> transport = CreateOtlpTransport(port.endpoint());
  const std::atomic<bool> stop{true};
  EXPECT_EQ(transport->Send("", 600 * kSecond, &stop).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace bitmill
