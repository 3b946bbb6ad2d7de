// HTTP by civetweb: /metrics for Prometheus, /healthz for "the process lives", / for people.
#include <civetweb.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/metrics/metrics.h"

namespace bitmill {
namespace {

constexpr char kPage[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Bitmill</title></head><body>\n"
    "<h1>Bitmill " BITMILL_VERSION
    "</h1>\n"
    "<p><a href=\"/metrics\">/metrics</a>: Prometheus text format</p>\n"
    "<p><a href=\"/healthz\">/healthz</a>: the process lives</p>\n"
    "<p>Inference is served over gRPC on another port.</p>\n</body></html>\n";

void Respond(mg_connection* connection, const char* status, const char* type,
             absl::string_view body) {
  const bool head = std::strcmp(mg_get_request_info(connection)->request_method, "HEAD") == 0;
  mg_printf(connection,
            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n",
            status, type, body.size());
  if (!head) mg_write(connection, body.data(), body.size());
}

// Called for every request before anything else is tried: nothing is ever served from files.
int Handle(mg_connection* connection) {
  const auto& metrics =
      *static_cast<const ServerMetrics*>(mg_get_user_data(mg_get_context(connection)));
  const mg_request_info& request = *mg_get_request_info(connection);
  const absl::string_view method = request.request_method;
  const absl::string_view path = request.local_uri == nullptr ? "" : request.local_uri;
  if (method != "GET" && method != "HEAD") {
    Respond(connection, "405 Method Not Allowed", "text/plain", "only GET and HEAD\n");
  } else if (path == "/metrics") {
    Respond(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics.RenderText());
  } else if (path == "/healthz") {
    Respond(connection, "200 OK", "text/plain", "ok\n");
  } else if (path == "/") {
    Respond(connection, "200 OK", "text/html; charset=utf-8", kPage);
  } else {
    Respond(connection, "404 Not Found", "text/plain", "there is /metrics, /healthz and /\n");
  }
  return 1;
}

class CivetExporter final : public MetricsExporter {
 public:
  CivetExporter(mg_context* context, std::string host, int port)
      : context_(context), host_(std::move(host)), port_(port) {}
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
  std::string host_;
  int port_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsExporter>> StartMetricsExporter(
    const std::string& host, int port, const ServerMetrics& metrics) {
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
                           "2",
                           "request_timeout_ms",
                           "5000",
                           "enable_keep_alive",
                           "no",
                           "enable_directory_listing",
                           "no",
                           nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = Handle;
  std::array<char, 256> text{};
  unsigned code = 0;
  mg_init_data init{&callbacks, const_cast<ServerMetrics*>(&metrics), options};
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
  return std::make_unique<CivetExporter>(context, host, count == 1 ? listening.port : port);
}

}  // namespace bitmill
