#include "server/metrics/exposition.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/metrics/write_families.h"

namespace bitmill {
namespace {

// One range of an Accept header: type, parameters and weight.
struct MediaRange {
  std::string type;
  std::vector<std::pair<std::string, std::string>> parameters;
  double weight = 1;

  // A parameter that is not given fits everything.
  bool Fits(absl::string_view name, absl::string_view value) const {
    for (const auto& [key, given] : parameters) {
      if (key == name && given != value) return false;
    }
    return true;
  }
};

MediaRange ParseRange(absl::string_view text) {
  MediaRange range;
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ';');
  range.type = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts[0]));
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::pair<absl::string_view, absl::string_view> parameter =
        absl::StrSplit(parts[i], absl::MaxSplits('=', 1));
    const std::string key = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parameter.first));
    absl::string_view value = absl::StripAsciiWhitespace(parameter.second);
    if (absl::ConsumePrefix(&value, "\"")) absl::ConsumeSuffix(&value, "\"");
    if (key == "q") {
      if (!absl::SimpleAtod(value, &range.weight)) range.weight = 0;
    } else {
      range.parameters.emplace_back(key, std::string(value));
    }
  }
  return range;
}

std::optional<MetricsFormat> FormatOf(const MediaRange& range) {
  if (range.type == "application/vnd.google.protobuf") {
    const bool ours = range.Fits("proto", "io.prometheus.client.MetricFamily") &&
                      range.Fits("encoding", "delimited");
    return ours ? std::optional(MetricsFormat::kProtobuf) : std::nullopt;
  }
  if (range.type == "application/openmetrics-text") {
    return range.Fits("version", "1.0.0") ? std::optional(MetricsFormat::kOpenMetrics)
                                          : std::nullopt;
  }
  if (range.type == "text/plain") {
    return range.Fits("version", "0.0.4") ? std::optional(MetricsFormat::kText) : std::nullopt;
  }
  if (range.type == "*/*" || range.type == "text/*") return MetricsFormat::kText;
  return std::nullopt;
}

}  // namespace

MetricsFormat ChooseMetricsFormat(absl::string_view accept) {
  MetricsFormat chosen = MetricsFormat::kText;
  double best = 0;
  for (const absl::string_view text : absl::StrSplit(accept, ',', absl::SkipWhitespace())) {
    const MediaRange range = ParseRange(text);
    const std::optional<MetricsFormat> format = FormatOf(range);
    if (!format.has_value() || !(range.weight > best)) continue;
    chosen = *format;
    best = range.weight;
  }
  return chosen;
}

const char* MetricsContentType(MetricsFormat format) {
  switch (format) {
    case MetricsFormat::kOpenMetrics:
      return "application/openmetrics-text; version=1.0.0; charset=utf-8";
    case MetricsFormat::kProtobuf:
      return "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
             "encoding=delimited";
    case MetricsFormat::kText:
      break;
  }
  return "text/plain; version=0.0.4; charset=utf-8";
}

std::string WriteMetrics(const MetricPage& page, MetricsFormat format) {
  switch (format) {
    case MetricsFormat::kOpenMetrics:
      return WriteOpenMetrics(page);
    case MetricsFormat::kProtobuf:
      return WriteProtobuf(page);
    case MetricsFormat::kText:
      break;
  }
  return WriteText(page);
}

}  // namespace bitmill
