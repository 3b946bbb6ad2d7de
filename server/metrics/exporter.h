// The HTTP side: /metrics for Prometheus, /healthz for "the process lives", and the pages that the
// composition root adds for people.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/metrics/metrics.h"

namespace bitmill {

// Something else to serve. Answers carry an ETag, so that a browser that has the newest body is
// told so (304) instead of sent it, and a policy that lets a page load from this server alone: no
// inline script or style.
struct HttpPage {
  std::string path;  // "/api/report", whole and exact; "/" replaces the built-in page
  std::string content_type;
  // The body for what comes after '?', not decoded, "" if nothing. Called by several threads at a
  // time, until the exporter is destroyed. InvalidArgument becomes 400, NotFound 404, Unavailable
  // 503, any other error 500; its message is the body.
  std::function<absl::StatusOr<std::string>(absl::string_view query)> render;
};

// The value of `name` in "a=1&b=two%20words", decoded; none when it is not there.
std::optional<std::string> QueryValue(absl::string_view query, const char* name);

// The listener stops when destroyed; nothing is rendered after that.
class MetricsExporter {
 public:
  virtual ~MetricsExporter() = default;
  virtual int port() const = 0;
};

// `metrics` and what the pages refer to must outlive the exporter. Unavailable when the address is
// in use; port 0 picks a free one.
absl::StatusOr<std::unique_ptr<MetricsExporter>> StartMetricsExporter(
    const std::string& host, int port, const ServerMetrics& metrics,
    std::vector<HttpPage> pages = {});

}  // namespace bitmill
