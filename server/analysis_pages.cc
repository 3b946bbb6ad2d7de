#include "server/analysis_pages.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/analysis/page/page_files.h"
#include "server/frontend/analysis_messages.h"

namespace bitmill {
namespace {

constexpr char kJson[] = "application/json";
constexpr int kDefaultRequests = 20;
constexpr int kMaxRequests = 1000;

// A number from 0 on; `fallback` where the query says nothing.
absl::StatusOr<int64_t> Number(absl::string_view query, const char* name, int64_t fallback) {
  const std::optional<std::string> text = QueryValue(query, name);
  if (!text) return fallback;
  int64_t value = 0;
  if (!absl::SimpleAtoi(*text, &value) || value < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " '", *text, "', expected a number from 0 on"));
  }
  return value;
}

absl::StatusOr<std::string> Timeline(const AnalysisSource& analysis, absl::string_view query) {
  const std::optional<std::string> model = QueryValue(query, "model");
  if (!model || model->empty()) return absl::InvalidArgumentError("model=NAME is missing");
  BITMILL_ASSIGN_OR_RETURN(const int64_t version, Number(query, "version", 0));
  BITMILL_ASSIGN_OR_RETURN(const int64_t seconds, Number(query, "seconds", 0));
  BITMILL_ASSIGN_OR_RETURN(const int64_t requests, Number(query, "requests", kDefaultRequests));
  constexpr int64_t kDay = 86'400;
  const std::vector<HistoryPoint> points =
      analysis.History(*model, version, static_cast<int>(std::min(seconds, kDay)));
  if (points.empty()) {
    return absl::NotFoundError(absl::StrCat("nothing is known of model '", *model, "'",
                                            version > 0 ? absl::StrCat(" version ", version) : ""));
  }
  return TimelineJson(
      *model, version, points,
      analysis.SampledRequests(*model, version,
                               static_cast<int>(std::min<int64_t>(requests, kMaxRequests))));
}

}  // namespace

std::vector<HttpPage> AnalysisPages(const AnalysisSource& analysis, const HostInfo& host) {
  std::vector<HttpPage> pages;
  for (const EmbeddedFile& file : AnalysisPageFiles()) {
    pages.push_back({.path = std::string(file.path),
                     .content_type = std::string(file.content_type),
                     .render = [bytes = file.bytes](absl::string_view) {
                       return absl::StatusOr<std::string>(std::string(bytes));
                     }});
  }
  pages.push_back({.path = "/api/report",
                   .content_type = kJson,
                   .render = [&analysis, host](absl::string_view query) {
                     return absl::StatusOr<std::string>(ReportJson(
                         *analysis.Newest(), host, QueryValue(query, "model").value_or("")));
                   }});
  pages.push_back(
      {.path = "/api/timeline",
       .content_type = kJson,
       .render = [&analysis](absl::string_view query) { return Timeline(analysis, query); }});
  return pages;
}

}  // namespace bitmill
