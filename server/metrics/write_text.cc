// Both text formats: the same lines but for a few words. Most lines are buckets; what their labels
// have in common is put together once for a histogram, bounds once for a family.
#include <charconv>
#include <cmath>
#include <cstdint>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/metrics/write_families.h"

namespace bitmill {
namespace {

constexpr double kLargestWhole = 1e15;  // below, a whole number is written without an exponent

// Shortest text that reads as the same number.
void AppendNumber(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else {
    char buffer[40];
    const bool whole = value == std::trunc(value) && std::abs(value) < kLargestWhole;
    const std::to_chars_result result =
        whole ? std::to_chars(std::begin(buffer), std::end(buffer), static_cast<int64_t>(value))
              : std::to_chars(std::begin(buffer), std::end(buffer), value,
                              std::chars_format::general);
    out.append(buffer, static_cast<size_t>(result.ptr - buffer));
  }
}

void AppendCount(std::string& out, int64_t value) {
  char buffer[24];
  const auto result = std::to_chars(std::begin(buffer), std::end(buffer), value);
  out.append(buffer, static_cast<size_t>(result.ptr - buffer));
}

void AppendEscaped(std::string& out, absl::string_view text, bool escape_quotes) {
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || (c == '"' && escape_quotes)) out += '\\';
    out += c;
  }
}

// model="m",version="1"
std::string LabelText(const MetricLabels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    absl::StrAppend(&text, text.empty() ? "" : ",", name, "=\"");
    AppendEscaped(text, value, /*escape_quotes=*/true);
    text += '"';
  }
  return text;
}

class TextWriter {
 public:
  explicit TextWriter(bool open_metrics) : open_metrics_(open_metrics) {}

  std::string Write(const std::vector<MetricFamily>& families) {
    for (const MetricFamily& family : families) {
      WriteHead(family);
      if (family.type == FamilyType::kHistogram) {
        WriteHistograms(family);
      } else {
        for (const MetricSample& sample : family.samples) {
          WriteLine(family.name, LabelText(sample.labels), sample.value);
        }
      }
    }
    if (open_metrics_) out_ += "# EOF\n";
    return std::move(out_);
  }

 private:
  void WriteHead(const MetricFamily& family) {
    absl::string_view name = family.name;
    const char* type = "gauge";
    if (family.type == FamilyType::kHistogram) type = "histogram";
    if (family.type == FamilyType::kCounter) {
      const bool known = !open_metrics_ || absl::ConsumeSuffix(&name, "_total");
      type = known ? "counter" : "unknown";
    }
    absl::StrAppend(&out_, "# HELP ", name, " ");
    AppendEscaped(out_, family.help, open_metrics_);
    absl::StrAppend(&out_, "\n# TYPE ", name, " ", type, "\n");
  }

  void WriteLine(absl::string_view name, absl::string_view labels, double value) {
    absl::StrAppend(&out_, name);
    if (!labels.empty()) absl::StrAppend(&out_, "{", labels, "}");
    out_ += ' ';
    AppendNumber(out_, value);
    out_ += '\n';
  }

  // le="0.001"} and what else lines of a bucket have in common, by bucket.
  std::vector<std::string> BoundTexts(const MetricFamily& family) const {
    std::vector<std::string> texts;
    for (const double bound : family.bounds) {
      std::string number;
      AppendNumber(number, bound);
      // "1.0": so OpenMetrics wants a bound, so that nothing depends on who wrote it.
      if (open_metrics_ && !absl::StrContains(number, '.') && !absl::StrContains(number, 'e')) {
        number += ".0";
      }
      texts.push_back(absl::StrCat("le=\"", number, "\"} "));
    }
    texts.push_back("le=\"+Inf\"} ");
    return texts;
  }

  void WriteHistograms(const MetricFamily& family) {
    const std::vector<std::string> bounds = BoundTexts(family);
    const std::string bucket_name = family.name + "_bucket{";
    for (const MetricSample& sample : family.samples) {
      const HistogramSample& histogram = *sample.histogram;
      const std::string labels = LabelText(sample.labels);
      const std::string begin = absl::StrCat(bucket_name, labels, labels.empty() ? "" : ",");
      auto exemplar = histogram.exemplars.begin();
      int64_t cumulative = 0;
      for (size_t i = 0; i < bounds.size(); ++i) {
        cumulative += histogram.buckets[i];
        out_ += begin;
        out_ += bounds[i];
        AppendCount(out_, cumulative);
        if (exemplar != histogram.exemplars.end() && exemplar->bucket == i) {
          if (open_metrics_) WriteExemplar(*exemplar);
          ++exemplar;
        }
        out_ += '\n';
      }
      WriteLine(family.name + "_sum", labels, histogram.sum);
      WriteLine(family.name + "_count", labels, static_cast<double>(cumulative));
    }
  }

  void WriteExemplar(const BucketExemplar& exemplar) {
    absl::StrAppend(&out_, " # {trace_id=\"", exemplar.trace_id, "\"} ");
    AppendNumber(out_, exemplar.value);
    out_ += ' ';
    char buffer[40];  // milliseconds are all that is known
    const auto result = std::to_chars(std::begin(buffer), std::end(buffer), exemplar.unix_seconds,
                                      std::chars_format::fixed, 3);
    out_.append(buffer, static_cast<size_t>(result.ptr - buffer));
  }

  const bool open_metrics_;
  std::string out_;
};

}  // namespace

std::string WriteText(const std::vector<MetricFamily>& families) {
  return TextWriter(/*open_metrics=*/false).Write(families);
}

std::string WriteOpenMetrics(const std::vector<MetricFamily>& families) {
  return TextWriter(/*open_metrics=*/true).Write(families);
}

}  // namespace bitmill
