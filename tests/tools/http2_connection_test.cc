// The client's side of HTTP/2 against a server whose bytes the test writes itself.
#include "tools/load/http2_connection.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Big(uint64_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    text += static_cast<char>(value >> shift);
  return text;
}

std::string Frame(int type, int flags, uint32_t stream, const std::string& payload) {
  return absl::StrCat(Big(payload.size(), 3), Big(static_cast<uint64_t>(type), 1),
                      Big(static_cast<uint64_t>(flags), 1), Big(stream, 4), payload);
}

std::string Settings(const std::string& values = "") { return Frame(4, 0, 0, values); }

std::string Literal(const std::string& name, const std::string& value) {
  std::string field = HpackInsert(name, value);
  field[0] = '\0';
  return field;
}

// Headers, one message, trailers.
std::string Answer(uint32_t stream, const std::string& message) {
  return absl::StrCat(
      Frame(1, 0x4, stream, absl::StrCat("\x88", Literal("content-type", "application/grpc"))),
      Frame(0, 0, stream, absl::StrCat(Big(0, 1), Big(message.size(), 4), message)),
      Frame(1, 0x5, stream, Literal("grpc-status", "0")));
}

std::string Failure(uint32_t stream, const std::string& code, const std::string& message) {
  return Frame(
      1, 0x5, stream,
      absl::StrCat("\x88", Literal("grpc-status", code), Literal("grpc-message", message)));
}

struct Outcome {
  size_t call;
  absl::Status status;
  std::string answer;
};

class Http2ConnectionTest : public testing::Test {
 protected:
  Http2ConnectionTest() { Connect({}); }

  void Connect(CallOptions options) {
    if (server_ >= 0) close(server_);
    int sockets[2] = {};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets), 0);
    server_ = sockets[1];
    options.path = "/service/Method";
    options.authority = "server";
    options.keep_answers = true;
    connection_ = std::make_unique<Http2Connection>(
        sockets[0], options,
        [this](size_t call, const absl::Status& status, absl::string_view answer) {
          outcomes_.push_back({call, status, std::string(answer)});
        });
  }
  ~Http2ConnectionTest() override { close(server_); }

  // What the client has written since the last time.
  std::string Written() {
    EXPECT_TRUE(connection_->Flush().ok());
    std::string all;
    char buffer[65536];
    while (true) {
      const ssize_t got = recv(server_, buffer, sizeof buffer, 0);
      if (got <= 0) return all;
      all.append(buffer, static_cast<size_t>(got));
      EXPECT_TRUE(connection_->Flush().ok());
    }
  }

  absl::Status Answered(const std::string& bytes) {
    EXPECT_EQ(send(server_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return connection_->Receive();
  }

  int server_ = -1;
  std::vector<Outcome> outcomes_;
  std::unique_ptr<Http2Connection> connection_;
};

TEST_F(Http2ConnectionTest, OpensWithThePrefaceAndWaitsForSettings) {
  connection_->Start(7, "message");
  EXPECT_THAT(Written(), StartsWith("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  EXPECT_FALSE(connection_->ready());
  ASSERT_TRUE(Answered(Settings()).ok());
  EXPECT_TRUE(connection_->ready());
  const std::string written = Written();
  EXPECT_THAT(written, HasSubstr(Frame(4, 1, 0, "")));  // acknowledged
  EXPECT_THAT(written, HasSubstr("/service/Method"));
  EXPECT_THAT(written, HasSubstr(Frame(0, 1, 1, absl::StrCat(Big(0, 1), Big(7, 4), "message"))));
}

TEST_F(Http2ConnectionTest, LaterCallsReferToTheHeadersOfTheFirst) {
  ASSERT_TRUE(Answered(Settings()).ok());
  connection_->Start(1, "a");
  EXPECT_THAT(Written(), HasSubstr("/service/Method"));
  connection_->Start(2, "a");
  const std::string written = Written();
  EXPECT_THAT(written, Not(HasSubstr("/service/Method")));
  EXPECT_LT(written.size(), 40u);
}

TEST_F(Http2ConnectionTest, TellsWhenEachCallWasSentWhereAsked) {
  CallOptions options;
  options.send_time = true;
  Connect(options);
  ASSERT_TRUE(Answered(Settings()).ok());
  const auto sent_ns = [this] {
    const std::string key = "bitmill-sent-unix-ns";
    const std::string written = Written();
    const size_t at = written.find(key);
    if (at == std::string::npos) return int64_t{0};
    return static_cast<int64_t>(std::stoll(written.substr(at + key.size() + 1, 19)));
  };
  const SystemClock clock{};
  const int64_t before = clock.UnixNanos();
  connection_->Start(1, "a");
  const int64_t first = sent_ns();
  EXPECT_GE(first, before);
  connection_->Start(2, "a");
  EXPECT_GE(sent_ns(), first);
  ASSERT_TRUE(Answered(absl::StrCat(Answer(1, "x"), Answer(3, "y"))).ok());
  EXPECT_EQ(outcomes_.size(), 2u);
}

TEST_F(Http2ConnectionTest, SendsMetadataWithEachCall) {
  CallOptions options;
  options.metadata = {{"x-tenant", "seven"}, {"x-other", "eight"}};
  Connect(options);
  ASSERT_TRUE(Answered(Settings()).ok());
  connection_->Start(1, "a");
  const std::string first = Written();
  EXPECT_THAT(first, HasSubstr("x-tenant"));
  EXPECT_THAT(first, HasSubstr("eight"));
  connection_->Start(2, "a");
  EXPECT_LT(Written().size(), 40u);  // by reference, like all the others
  ASSERT_TRUE(Answered(absl::StrCat(Answer(1, "x"), Answer(3, "y"))).ok());
  EXPECT_EQ(outcomes_.size(), 2u);
}

TEST_F(Http2ConnectionTest, AnswersComeBackWithTheirCall) {
  ASSERT_TRUE(Answered(Settings()).ok());
  connection_->Start(10, "a");
  connection_->Start(11, "b");
  ASSERT_TRUE(Answered(absl::StrCat(Answer(3, "second"), Answer(1, "first"))).ok());
  ASSERT_EQ(outcomes_.size(), 2u);
  EXPECT_EQ(outcomes_[0].call, 11u);
  EXPECT_EQ(outcomes_[0].answer, "second");
  EXPECT_EQ(outcomes_[1].call, 10u);
  EXPECT_TRUE(outcomes_[1].status.ok());
  EXPECT_EQ(connection_->calls(), 0u);
}

TEST_F(Http2ConnectionTest, BytesMayComeOneByOne) {
  connection_->Start(1, "a");
  for (const char c : absl::StrCat(Settings(), Answer(1, "answer"))) {
    ASSERT_TRUE(Answered(std::string(1, c)).ok());
  }
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].answer, "answer");
}

TEST_F(Http2ConnectionTest, StatusAndMessageOfAFailure) {
  ASSERT_TRUE(Answered(Settings()).ok());
  connection_->Start(1, "a");
  connection_->Start(2, "a");
  connection_->Start(3, "a");
  ASSERT_TRUE(Answered(absl::StrCat(Failure(1, "3", "bad%20shape"), Failure(3, "99", ""),
                                    Frame(1, 0x5, 5, "\x8d")))
                  .ok());
  ASSERT_EQ(outcomes_.size(), 3u);
  EXPECT_TRUE(absl::IsInvalidArgument(outcomes_[0].status));
  EXPECT_EQ(outcomes_[0].status.message(), "bad shape");
  EXPECT_TRUE(absl::IsUnknown(outcomes_[1].status));
  EXPECT_THAT(outcomes_[2].status.message(), HasSubstr("HTTP status 404"));
}

TEST_F(Http2ConnectionTest, SplitAndPaddedFramesAreRead) {
  ASSERT_TRUE(Answered(Settings()).ok());
  connection_->Start(1, "a");
  const std::string trailers = Literal("grpc-status", "0");
  ASSERT_TRUE(
      Answered(
          absl::StrCat(Frame(1, 0x2c, 1, absl::StrCat(Big(2, 1), Big(0, 5), "\x88", Big(0, 2))),
                       Frame(0, 0x8, 1, absl::StrCat(Big(1, 1), Big(0, 1), Big(2, 4), "o", "x")),
                       Frame(0, 0, 1, "k"), Frame(1, 0x1, 1, trailers.substr(0, 3)),
                       Frame(9, 0x4, 1, trailers.substr(3))))
          .ok());
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_TRUE(outcomes_[0].status.ok()) << outcomes_[0].status;
  EXPECT_EQ(outcomes_[0].answer, "ok");
}

TEST_F(Http2ConnectionTest, NeverSendsMoreThanTheWindow) {
  ASSERT_TRUE(Answered(Settings(absl::StrCat(Big(4, 2), Big(10, 4)))).ok());
  Written();
  const std::string message(20, 'm');
  connection_->Start(1, message);
  EXPECT_THAT(Written(), HasSubstr(Frame(0, 0, 1, absl::StrCat(Big(0, 1), Big(20, 4), "mmmmm"))));
  ASSERT_TRUE(Answered(Frame(8, 0, 1, Big(9, 4))).ok());
  EXPECT_EQ(Written(), Frame(0, 0, 1, std::string(9, 'm')));
  ASSERT_TRUE(Answered(Frame(8, 0, 1, Big(100, 4))).ok());
  EXPECT_EQ(Written(), Frame(0, 1, 1, std::string(6, 'm')));
}

TEST_F(Http2ConnectionTest, LargeMessagesAreCutIntoFrames) {
  ASSERT_TRUE(Answered(Settings(absl::StrCat(Big(4, 2), Big(1 << 20, 4)))).ok());
  Written();
  const std::string message(40'000, 'm');
  connection_->Start(1, message);
  const std::string written = Written();
  EXPECT_THAT(written, HasSubstr(Frame(0, 0, 1, std::string(16'384, 'm'))));
  EXPECT_THAT(written, HasSubstr(Frame(0, 1, 1, std::string(40'005 - 2 * 16'384, 'm'))));
}

TEST_F(Http2ConnectionTest, KeepsToTheServersNumberOfStreams) {
  ASSERT_TRUE(Answered(Settings(absl::StrCat(Big(3, 2), Big(1, 4)))).ok());
  Written();
  connection_->Start(1, "first");
  connection_->Start(2, "second");
  EXPECT_THAT(Written(), Not(HasSubstr("second")));
  ASSERT_TRUE(Answered(Answer(1, "")).ok());
  EXPECT_THAT(Written(), HasSubstr("second"));
}

TEST_F(Http2ConnectionTest, PingsAreAnswered) {
  ASSERT_TRUE(Answered(Settings()).ok());
  Written();
  ASSERT_TRUE(Answered(Frame(6, 0, 0, "12345678")).ok());
  EXPECT_EQ(Written(), Frame(6, 1, 0, "12345678"));
  ASSERT_TRUE(Answered(Frame(6, 1, 0, "12345678")).ok());
  EXPECT_EQ(Written(), "");
}

TEST_F(Http2ConnectionTest, GoodbyeEndsOnlyCallsThatWereNotTaken) {
  ASSERT_TRUE(Answered(Settings()).ok());
  connection_->Start(1, "a");
  connection_->Start(2, "a");
  ASSERT_TRUE(Answered(Frame(7, 0, 0, absl::StrCat(Big(1, 4), Big(0, 4)))).ok());
  EXPECT_TRUE(connection_->closing());
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].call, 2u);
  EXPECT_TRUE(absl::IsUnavailable(outcomes_[0].status));
  ASSERT_TRUE(Answered(Answer(1, "answer")).ok());
  EXPECT_EQ(outcomes_[1].answer, "answer");
}

TEST_F(Http2ConnectionTest, CancelledCallsAreForgotten) {
  ASSERT_TRUE(Answered(Settings()).ok());
  connection_->Start(1, "a");
  Written();
  connection_->Cancel(1);
  EXPECT_EQ(Written(), Frame(3, 0, 1, Big(8, 4)));
  ASSERT_TRUE(Answered(Answer(1, "late")).ok());
  EXPECT_TRUE(outcomes_.empty());
}

TEST_F(Http2ConnectionTest, ResetsAreFailures) {
  ASSERT_TRUE(Answered(Settings()).ok());
  connection_->Start(1, "a");
  connection_->Start(2, "a");
  ASSERT_TRUE(Answered(absl::StrCat(Frame(3, 0, 1, Big(7, 4)), Frame(3, 0, 3, Big(8, 4)))).ok());
  ASSERT_EQ(outcomes_.size(), 2u);
  EXPECT_TRUE(absl::IsUnavailable(outcomes_[0].status));
  EXPECT_TRUE(absl::IsCancelled(outcomes_[1].status));
}

TEST_F(Http2ConnectionTest, AClosedConnectionSaysSo) {
  connection_->Start(4, "a");
  shutdown(server_, SHUT_RDWR);
  EXPECT_TRUE(absl::IsUnavailable(connection_->Receive()));
  EXPECT_THAT(connection_->Unfinished(), testing::ElementsAre(4u));
}

TEST_F(Http2ConnectionTest, WhatIsNotHttp2IsRefused) {
  EXPECT_TRUE(absl::IsInternal(Answered("HTTP/1.1 400 Bad Request\r\n\r\n")));
}

TEST(Http2ConnectionFuzzTest, DamagedAnswersNeverCrash) {
  const std::string good = absl::StrCat(Settings(), Answer(1, "answer"), Failure(3, "3", "no"),
                                        Frame(8, 0, 0, Big(9, 4)), Frame(6, 0, 0, "12345678"));
  std::mt19937_64 random(1);
  for (int round = 0; round < 20'000; ++round) {
    int sockets[2] = {};
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets), 0);
    size_t done = 0;
    CallOptions options;
    options.path = "/a/B";
    options.keep_answers = true;
    Http2Connection connection(sockets[0], options,
                               [&done](size_t, const absl::Status&, absl::string_view) { ++done; });
    connection.Start(0, "x");
    connection.Start(1, "y");
    std::string damaged = good;
    for (uint64_t i = 0; i <= random() % 3; ++i) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    ASSERT_EQ(send(sockets[1], damaged.data(), damaged.size(), 0),
              static_cast<ssize_t>(damaged.size()));
    const absl::Status status = connection.Receive();
    EXPECT_TRUE(status.ok() || absl::IsInternal(status)) << status;
    EXPECT_LE(done, 2u);
    EXPECT_EQ(done + connection.calls(), 2u);
    close(sockets[1]);
  }
}

}  // namespace
}  // namespace bitmill
