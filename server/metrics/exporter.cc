#include "server/metrics/exporter.h"

#include <civetweb.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "base/this_thread.h"

namespace bitmill {

std::optional<std::string> QueryValue(absl::string_view query, const char* name) {
  std::string value(query.size() + 1, '\0');
  const int length = mg_get_var(query.data(), query.size(), name, value.data(), value.size());
  if (length < 0) return std::nullopt;
  value.resize(static_cast<size_t>(length));
  return value;
}
namespace {

constexpr char kPage[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Bitmill</title></head><body>\n"
    "<h1>Bitmill " BITMILL_VERSION
    "</h1>\n"
    "<p><a href=\"/metrics\">/metrics</a>: for Prometheus</p>\n"
    "<p><a href=\"/healthz\">/healthz</a>: the process lives</p>\n"
    "<p>Inference is served over gRPC on another port.</p>\n</body></html>\n";

// Nothing is loaded from elsewhere, nothing inline runs, and no other site may frame a page.
constexpr char kSafety[] =
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'\r\n";

struct Answer {
  const char* status = "200 OK";
  std::string type = "text/plain; charset=utf-8";
  std::string body = {};
  std::string more_headers = "Cache-Control: no-store\r\n";  // each ends in \r\n
  bool send_body = true;
};

void Send(mg_connection* connection, const Answer& answer) {
  const std::string head =
      absl::StrCat("HTTP/1.1 ", answer.status, "\r\nContent-Type: ", answer.type,
                   "\r\nContent-Length: ", answer.body.size(), "\r\n", answer.more_headers, kSafety,
                   "Connection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (answer.send_body) mg_write(connection, answer.body.data(), answer.body.size());
}

const char* ErrorLine(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return "400 Bad Request";
    case absl::StatusCode::kNotFound:
      return "404 Not Found";
    case absl::StatusCode::kUnavailable:
      return "503 Service Unavailable";
    default:
      return "500 Internal Server Error";
  }
}

// `known` is the tag of what the client has already, or "".
Answer RenderPage(const HttpPage& page, absl::string_view query, absl::string_view known) {
  absl::StatusOr<std::string> body = page.render(query);
  if (!body.ok()) {
    return {.status = ErrorLine(body.status().code()),
            .body = absl::StrCat(body.status().message(), "\n")};
  }
  const std::string tag = absl::StrFormat("\"%016x\"", HashBytes(body->data(), body->size()));
  Answer answer{.type = page.content_type,
                .body = *std::move(body),
                .more_headers = absl::StrCat("Cache-Control: no-cache\r\nETag: ", tag, "\r\n")};
  if (known == tag) {
    answer.status = "304 Not Modified";
    answer.send_body = false;
  }
  return answer;
}

struct Question {
  absl::string_view path, query;
  absl::string_view accept;
  absl::string_view known;  // the value of If-None-Match
};

class Site {
 public:
  Site(const ServerMetrics& metrics, std::vector<HttpPage> pages)
      : metrics_(metrics), pages_(std::move(pages)) {}

  Answer Get(const Question& question) const {
    const absl::string_view path = question.path;
    if (path == "/metrics") {
      const MetricsFormat format = ChooseMetricsFormat(question.accept);
      return {.type = MetricsContentType(format),
              .body = metrics_.Render(format),
              .more_headers = "Cache-Control: no-store\r\nVary: Accept\r\n"};
    }
    if (path == "/healthz") return {.body = "ok\n"};
    for (const HttpPage& page : pages_) {
      if (page.path == path) return RenderPage(page, question.query, question.known);
    }
    if (path == "/") return {.type = "text/html; charset=utf-8", .body = kPage};
    return {.status = "404 Not Found", .body = "there is /metrics, /healthz and /\n"};
  }

 private:
  const ServerMetrics& metrics_;
  const std::vector<HttpPage> pages_;
};

absl::string_view Header(const mg_connection* connection, const char* name) {
  const char* const value = mg_get_header(connection, name);
  return value == nullptr ? absl::string_view() : value;
}

// Called for every request before anything else is tried: nothing is ever served from files.
int Handle(mg_connection* connection) {
  const auto& site = *static_cast<const Site*>(mg_get_user_data(mg_get_context(connection)));
  const mg_request_info& request = *mg_get_request_info(connection);
  const absl::string_view method = request.request_method;
  if (method != "GET" && method != "HEAD") {
    Send(connection, {.status = "405 Method Not Allowed",
                      .body = "only GET and HEAD\n",
                      .more_headers = "Allow: GET, HEAD\r\nCache-Control: no-store\r\n"});
    return 1;
  }
  Answer answer = site.Get({.path = request.local_uri == nullptr ? "" : request.local_uri,
                            .query = request.query_string == nullptr ? "" : request.query_string,
                            .accept = Header(connection, "Accept"),
                            .known = Header(connection, "If-None-Match")});
  if (method == "HEAD") answer.send_body = false;
  Send(connection, answer);
  return 1;
}

// A scrape of many models is milliseconds of work.
void* InitThread(const mg_context* /*context*/, int thread_type) {
  constexpr int kWorker = 1;
  if (thread_type == kWorker) {
    NameThisThread("metrics");
    WorkInBackground();
  }
  return nullptr;
}

class CivetExporter final : public MetricsExporter {
 public:
  CivetExporter(mg_context* context, std::unique_ptr<const Site> site, std::string host, int port)
      : context_(context), site_(std::move(site)), host_(std::move(host)), port_(port) {}
  // civetweb's listener looks for the end every two seconds, or when a connection comes: so come.
  ~CivetExporter() override {
    std::atomic<bool> stopped{false};
    std::thread stop([&] {
      mg_stop(context_);
      stopped = true;
    });
    const std::string host = host_ == "0.0.0.0" ? "127.0.0.1" : host_ == "::" ? "::1" : host_;
    while (!stopped) {
      char error[128];
      mg_connection* const knock = mg_connect_client(host.c_str(), port_, 0, error, sizeof(error));
      if (knock != nullptr) mg_close_connection(knock);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    stop.join();
  }
  CivetExporter(const CivetExporter&) = delete;
  CivetExporter& operator=(const CivetExporter&) = delete;
  int port() const override { return port_; }

 private:
  mg_context* context_;
  std::unique_ptr<const Site> site_;
  std::string host_;
  int port_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsExporter>> StartMetricsExporter(const std::string& host,
                                                                      int port,
                                                                      const ServerMetrics& metrics,
                                                                      std::vector<HttpPage> pages) {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("metrics port ", port, ", expected 0 to 65535"));
  }
  const bool ipv6 = absl::StrContains(host, ':') && !absl::StartsWith(host, "[");
  const std::string address = absl::StrCat(ipv6 ? "[" : "", host, ipv6 ? "]" : "", ":", port);
  // Connections are not kept: a worker thread would be held by each. A client that is slow to send
  // its request or to take the answer loses the connection.
  const char* options[] = {"listening_ports",
                           address.c_str(),
                           "num_threads",
                           "4",
                           "request_timeout_ms",
                           "5000",
                           "enable_keep_alive",
                           "no",
                           "enable_directory_listing",
                           "no",
                           nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = Handle;
  callbacks.init_thread = InitThread;
  std::array<char, 256> text{};
  unsigned code = 0;
  auto site = std::make_unique<Site>(metrics, std::move(pages));
  mg_init_data init{&callbacks, site.get(), options};
  mg_error_data error{&code, text.data(), text.size()};
  mg_context* context = mg_start2(&init, &error);
  if (context == nullptr) {
    const absl::string_view reason = text.data();
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address, " for metrics: ",
                                               absl::StrContains(reason, "server ports")
                                                   ? "the address is in use or not this machine's"
                                                   : reason));
  }
  mg_server_port listening{};
  const int count = mg_get_server_ports(context, 1, &listening);
  return std::make_unique<CivetExporter>(context, std::move(site), host,
                                         count == 1 ? listening.port : port);
}

}  // namespace bitmill
