#include "tools/load/server_process.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

TEST(LoopbackPortTest, OnlyAddressesOfThisMachineHaveOne) {
  EXPECT_EQ(LoopbackPort("127.0.0.1:8001"), 8001);
  EXPECT_EQ(LoopbackPort("localhost:80"), 80);
  EXPECT_EQ(LoopbackPort("[::1]:8001"), 8001);
  EXPECT_EQ(LoopbackPort("ipv4:127.0.0.1:9"), 9);
  EXPECT_EQ(LoopbackPort("dns:///localhost:9"), 9);
  EXPECT_EQ(LoopbackPort("192.0.2.1:8001"), std::nullopt);
  EXPECT_EQ(LoopbackPort("localhost"), std::nullopt);
  EXPECT_EQ(LoopbackPort("localhost:0"), std::nullopt);
  EXPECT_EQ(LoopbackPort("localhost:65536"), std::nullopt);
  EXPECT_EQ(LoopbackPort("localhost:x"), std::nullopt);
}

TEST(FindListenerTest, FindsTheProcessBehindAPort) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  socklen_t size = sizeof address;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  const int port = ntohs(address.sin_port);

  EXPECT_EQ(FindListener(port), std::nullopt) << "bound, but not yet listening";
  ASSERT_EQ(listen(listener, 1), 0);
  EXPECT_EQ(FindListener(port), getpid());
  close(listener);
}

TEST(ServerProcessTest, CpuTimeGrowsWithWork) {
  const auto process = ServerProcess::Find(getpid());
  ASSERT_TRUE(process.has_value());
  const int64_t before = process->CpuNanos();
  volatile double sum = 0.0;
  for (int i = 0; i < 20'000'000; ++i) sum = sum + i;
  EXPECT_GT(process->CpuNanos() - before, 1'000'000);
  EXPECT_GT(process->RssBytes(), 1'000'000);
}

TEST(ServerProcessTest, ThereIsNoneWithoutAProcess) {
  EXPECT_FALSE(ServerProcess::Find(0).has_value());
  EXPECT_FALSE(ServerProcess::Find(-1).has_value());
  EXPECT_FALSE(ServerProcess::Find(1 << 30).has_value());
}

}  // namespace
}  // namespace bitmill
