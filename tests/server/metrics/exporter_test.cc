#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metrics/exporter.h"
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

// `headers`: lines that each end in \r\n.
std::string Get(int port, const std::string& path, const std::string& headers = "") {
  return Exchange(port, "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n");
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

TEST_F(ExporterTest, ServesTheFormatThatIsAskedFor) {
  const int port = exporter_->port();
  const std::string text = Get(port, "/metrics", "Accept: application/openmetrics-text\r\n");
  EXPECT_THAT(text, HasSubstr("Content-Type: application/openmetrics-text; version=1.0.0"));
  EXPECT_THAT(text, HasSubstr("Vary: Accept\r\n"));
  EXPECT_THAT(text, ::testing::EndsWith("\n# EOF\n"));
  const std::string protobuf =
      Get(port, "/metrics",
          "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
          "encoding=delimited\r\n");
  EXPECT_THAT(protobuf, HasSubstr("Content-Type: application/vnd.google.protobuf; "
                                  "proto=io.prometheus.client.MetricFamily; encoding=delimited"));
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

// One page that shows its query, one that fails as it is told to, one in the place of the built-in.
std::vector<HttpPage> Pages() {
  return {{"/api/echo", "application/json",
           [](absl::string_view query) { return absl::StrCat("{\"query\": \"", query, "\"}"); }},
          {"/api/fail", "application/json",
           [](absl::string_view query) -> absl::StatusOr<std::string> {
             if (query == "missing") return absl::NotFoundError("no such model");
             if (query == "bad") return absl::InvalidArgumentError("seconds 'x'");
             if (query == "early") return absl::UnavailableError("no report yet");
             return absl::InternalError("broken");
           }},
          {"/", "text/html; charset=utf-8", [](absl::string_view) { return "our page"; }}};
}

class ExporterPagesTest : public ::testing::Test {
 protected:
  ExporterPagesTest() : metrics_(CreateServerMetrics(HostInfo{})) {
    auto started = StartMetricsExporter("127.0.0.1", 0, *metrics_, Pages());
    EXPECT_TRUE(started.ok()) << started.status();
    if (started.ok()) exporter_ = *std::move(started);
  }
  std::unique_ptr<ServerMetrics> metrics_;
  std::unique_ptr<MetricsExporter> exporter_;
};

TEST_F(ExporterPagesTest, ServesPagesWithTheirQueries) {
  const std::string answer = Get(exporter_->port(), "/api/echo?model=a%20b&n=3");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\n{\"query\": \"model=a%20b&n=3\"}"));
  EXPECT_THAT(Get(exporter_->port(), "/api/echo"), HasSubstr("{\"query\": \"\"}"));
  EXPECT_THAT(Get(exporter_->port(), "/"), HasSubstr("\r\n\r\nour page"));
  EXPECT_THAT(Get(exporter_->port(), "/api/echo/more"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get(exporter_->port(), "/metrics"), HasSubstr("bitmill_build_info"));
}

TEST_F(ExporterPagesTest, ErrorsOfPagesAreStatusLines) {
  const int port = exporter_->port();
  EXPECT_THAT(Get(port, "/api/fail?missing"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get(port, "/api/fail?missing"), HasSubstr("\r\n\r\nno such model\n"));
  EXPECT_THAT(Get(port, "/api/fail?bad"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Get(port, "/api/fail?early"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(Get(port, "/api/fail"), StartsWith("HTTP/1.1 500"));
}

TEST_F(ExporterPagesTest, DoesNotSendAgainWhatTheBrowserHas) {
  const int port = exporter_->port();
  const std::string first = Get(port, "/api/echo?a");
  const size_t at = first.find("ETag: ");
  ASSERT_NE(at, std::string::npos);
  const std::string tag = first.substr(at + 6, first.find('\r', at) - at - 6);
  const std::string again = Get(port, "/api/echo?a", "If-None-Match: " + tag + "\r\n");
  EXPECT_THAT(again, StartsWith("HTTP/1.1 304"));
  EXPECT_THAT(again, ::testing::EndsWith("\r\n\r\n"));
  EXPECT_THAT(Get(port, "/api/echo?b", "If-None-Match: " + tag + "\r\n"),
              StartsWith("HTTP/1.1 200"));
}

TEST_F(ExporterPagesTest, TellsBrowsersToLoadNothingFromElsewhere) {
  for (const char* path : {"/", "/api/echo", "/api/fail", "/metrics", "/nothing"}) {
    const std::string answer = Get(exporter_->port(), path);
    EXPECT_THAT(answer, HasSubstr("Content-Security-Policy: default-src 'none'; script-src 'self'"))
        << path;
    EXPECT_THAT(answer, HasSubstr("X-Content-Type-Options: nosniff\r\n")) << path;
    EXPECT_THAT(answer, HasSubstr("frame-ancestors 'none'")) << path;
  }
}

TEST_F(ExporterPagesTest, SaysWhichMethodsItKnows) {
  const std::string answer =
      Exchange(exporter_->port(), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(answer, HasSubstr("Allow: GET, HEAD\r\n"));
  const std::string head = Exchange(exporter_->port(), "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Content-Length: 8\r\n"));
  EXPECT_THAT(head, ::testing::EndsWith("\r\n\r\n"));
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
