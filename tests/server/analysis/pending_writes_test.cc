#include "server/analysis/pending_writes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>

namespace bitmill {
namespace {

constexpr int64_t kFewDescriptors = 20;

// A connection over loopback whose client does not read.
class PendingWritesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t bytes = sizeof(address);
    ASSERT_EQ(bind(listener_, generic, bytes), 0);
    ASSERT_EQ(listen(listener_, 1), 0);
    ASSERT_EQ(getsockname(listener_, generic, &bytes), 0);
    port_ = ntohs(address.sin_port);
    client_ = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(connect(client_, generic, bytes), 0);
    server_ = accept(listener_, nullptr, nullptr);
    ASSERT_GE(server_, 0);
  }
  void TearDown() override {
    for (const int fd : {listener_, client_, server_}) close(fd);
  }
  // Until the client's buffer and the server's are full.
  void WriteAll() const {
    fcntl(server_, F_SETFL, O_NONBLOCK);
    const std::string block(65'536, 'x');
    while (write(server_, block.data(), block.size()) > 0) {
    }
  }

  PendingWrites pending_;
  int listener_ = -1, client_ = -1, server_ = -1, port_ = 0;
};

TEST_F(PendingWritesTest, NothingIsPendingBeforeAWrite) {
  EXPECT_EQ(pending_.Update(port_, kFewDescriptors), 0);
}

TEST_F(PendingWritesTest, CountsWhatTheClientHasNotTaken) {
  WriteAll();
  EXPECT_GT(pending_.Update(port_, kFewDescriptors), 10'000);
}

TEST_F(PendingWritesTest, ManyDescriptorsTakeTurns) {
  WriteAll();
  const int high = fcntl(server_, F_DUPFD, 3 * PendingWrites::kSlice);
  ASSERT_GE(high, 0);
  close(server_);
  server_ = high;
  int64_t most = 0;
  for (int turn = 0; turn < 4; ++turn) {
    most = std::max(most, pending_.Update(port_, 4 * PendingWrites::kSlice - 1));
  }
  EXPECT_GT(most, 10'000);
  EXPECT_GT(pending_.Update(port_, 4 * PendingWrites::kSlice - 1), 10'000);  // as it was
}

TEST_F(PendingWritesTest, OtherPortsAreNotOurs) {
  WriteAll();
  EXPECT_EQ(pending_.Update(port_ == 1 ? 2 : 1, kFewDescriptors), 0);
}

TEST_F(PendingWritesTest, WithoutAPortItIsNotKnown) {
  EXPECT_EQ(pending_.Update(0, kFewDescriptors), -1);
}

}  // namespace
}  // namespace bitmill
