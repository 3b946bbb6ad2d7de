#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metrics/metrics.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Sends the bytes to a loopback port and returns everything that comes back.
std::string Exchange(int port, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char buffer[4096];
    ssize_t count = 0;
    while ((count = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
      answer.append(buffer, static_cast<size_t>(count));
    }
  }
  close(fd);
  return answer;
}

std::string Get(int port, const std::string& path) {
  return Exchange(port, "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

class ExporterTest : public ::testing::Test {
 protected:
  ExporterTest() : metrics_(CreateServerMetrics(HostInfo{})) {
    auto started = StartMetricsExporter("127.0.0.1", 0, *metrics_);
    EXPECT_TRUE(started.ok()) << started.status();
    if (started.ok()) exporter_ = *std::move(started);
  }
  std::unique_ptr<ServerMetrics> metrics_;
  std::unique_ptr<MetricsExporter> exporter_;
};

TEST_F(ExporterTest, ServesTheMetrics) {
  ASSERT_GT(exporter_->port(), 0);
  metrics_->ForModel("m", 1).RecordRequest(absl::StatusCode::kOk, 1, 1, {});
  const std::string answer = Get(exporter_->port(), "/metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer,
              HasSubstr("bitmill_requests_total{model=\"m\",version=\"1\",code=\"OK\"} 1\n"));
}

TEST_F(ExporterTest, ServesAPageAndALivenessCheck) {
  EXPECT_THAT(Get(exporter_->port(), "/"), HasSubstr("href=\"/metrics\""));
  EXPECT_THAT(Get(exporter_->port(), "/healthz"), HasSubstr("\r\n\r\nok\n"));
}

TEST_F(ExporterTest, ServesNothingElse) {
  EXPECT_THAT(Get(exporter_->port(), "/etc/passwd"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get(exporter_->port(), "/../../../../etc/passwd"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(
      Exchange(exporter_->port(), "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
      StartsWith("HTTP/1.1 405"));
}

TEST_F(ExporterTest, AnswersHeadWithoutABody) {
  const std::string answer =
      Exchange(exporter_->port(), "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, ::testing::EndsWith("\r\n\r\n"));
}

TEST_F(ExporterTest, SurvivesWhatIsNotHttp) {
  Exchange(exporter_->port(), std::string("\0\xff\x16\x03\x01garbage\r\n\r\n", 16));
  Exchange(exporter_->port(), "GET /" + std::string(70'000, 'a') + " HTTP/1.1\r\n\r\n");
  EXPECT_THAT(Get(exporter_->port(), "/healthz"), StartsWith("HTTP/1.1 200 OK"));
}

TEST_F(ExporterTest, SaysWhichAddressIsInUse) {
  const auto second = StartMetricsExporter("127.0.0.1", exporter_->port(), *metrics_);
  ASSERT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("127.0.0.1:" + std::to_string(exporter_->port())));
}

TEST_F(ExporterTest, FreesThePortWhenDestroyed) {
  const int port = exporter_->port();
  exporter_.reset();
  EXPECT_TRUE(StartMetricsExporter("127.0.0.1", port, *metrics_).ok());
}

TEST_F(ExporterTest, RefusesPortsThatDoNotExist) {
  EXPECT_EQ(StartMetricsExporter("127.0.0.1", 65536, *metrics_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ExporterTest, AcceptsNamesAndAllInterfaces) {
  EXPECT_TRUE(StartMetricsExporter("localhost", 0, *metrics_).ok());
  EXPECT_TRUE(StartMetricsExporter("0.0.0.0", 0, *metrics_).ok());
}

}  // namespace
}  // namespace bitmill
