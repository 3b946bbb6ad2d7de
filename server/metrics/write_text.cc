// Both text formats: the same lines but for a few words. Most lines are buckets; what their labels
// have in common is put together once for a histogram, bounds once for a family whose histograms
// have the same.
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "server/metrics/write_families.h"

namespace bitmill {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

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

template <typename Whole>
void AppendCount(std::string& out, Whole value) {
  char buffer[24];
  const auto result = std::to_chars(std::begin(buffer), std::end(buffer), value);
  out.append(buffer, static_cast<size_t>(result.ptr - buffer));
}

// Seconds with three places: milliseconds are all that is known.
void AppendMillis(std::string& out, double seconds) {
  char buffer[340];  // any double
  const auto result =
      std::to_chars(std::begin(buffer), std::end(buffer), seconds, std::chars_format::fixed, 3);
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

// Bytes that do for most pages. A string that grows to 1.5 MB touches 4 MB of fresh memory, which
// takes longer than to write the text.
size_t LikelyBytes(const MetricPage& page) {
  constexpr size_t kNumberBytes = 32;  // le, the suffix of the name and the value
  size_t bytes = 0;
  for (const MetricFamily& family : page.families) {
    bytes += 2 * family.name.size() + family.help.size() + kNumberBytes;
    for (const ClientMetric& metric : family.metric) {
      size_t line_bytes = family.name.size() + kNumberBytes;
      for (const auto& [name, value] : metric.label) line_bytes += name.size() + value.size() + 4;
      const size_t parts = metric.histogram.bucket.size() + metric.summary.quantile.size();
      bytes += line_bytes * (parts == 0 ? 1 : parts + 2);
    }
  }
  return bytes;
}

class TextWriter {
 public:
  explicit TextWriter(bool open_metrics) : open_metrics_(open_metrics) {}

  std::string Write(const MetricPage& page) {
    out_.reserve(LikelyBytes(page));
    for (const MetricFamily& family : page.families) {
      WriteHead(family);
      switch (family.type) {
        case MetricType::Histogram:
          WriteHistograms(family, page.ExtrasOf(family));
          break;
        case MetricType::Summary:
          for (const ClientMetric& metric : family.metric) WriteSummary(family.name, metric);
          break;
        default:
          for (const ClientMetric& metric : family.metric) {
            WriteLine(family.name, LabelText(metric.label), ValueOf(family, metric), metric);
          }
      }
    }
    if (open_metrics_) out_ += "# EOF\n";
    return std::move(out_);
  }

 private:
  void WriteHead(const MetricFamily& family) {
    absl::string_view name = family.name;
    const char* type = open_metrics_ ? "unknown" : "untyped";
    switch (family.type) {
      case MetricType::Gauge:
        type = "gauge";
        break;
      case MetricType::Histogram:
        type = "histogram";
        break;
      case MetricType::Summary:
        type = "summary";
        break;
      case MetricType::Counter:
        if (!open_metrics_ || absl::ConsumeSuffix(&name, "_total")) type = "counter";
        break;
      default:
        break;
    }
    if (!family.help.empty()) {
      absl::StrAppend(&out_, "# HELP ", name, " ");
      AppendEscaped(out_, family.help, open_metrics_);
      out_ += '\n';
    }
    absl::StrAppend(&out_, "# TYPE ", name, " ", type, "\n");
  }

  void WriteName(absl::string_view name, absl::string_view labels) {
    absl::StrAppend(&out_, name);
    if (!labels.empty()) absl::StrAppend(&out_, "{", labels, "}");
    out_ += ' ';
  }

  // The time at which the value held, where one was given: milliseconds, OpenMetrics wants seconds.
  void WriteTime(const ClientMetric& metric) {
    if (metric.timestamp_ms == 0) return;
    out_ += ' ';
    if (open_metrics_) {
      AppendMillis(out_, static_cast<double>(metric.timestamp_ms) / 1e3);
    } else {
      AppendCount(out_, metric.timestamp_ms);
    }
  }

  // `metric` says when.
  void WriteLine(absl::string_view name, absl::string_view labels, double value,
                 const ClientMetric& metric) {
    WriteName(name, labels);
    AppendNumber(out_, value);
    WriteTime(metric);
    out_ += '\n';
  }

  void WriteSumAndCount(const std::string& name, absl::string_view labels, double sum,
                        uint64_t count, const ClientMetric& metric) {
    WriteLine(name + "_sum", labels, sum, metric);
    WriteName(name + "_count", labels);
    AppendCount(out_, count);
    WriteTime(metric);
    out_ += '\n';
  }

  // A number in a label. "1.0": so OpenMetrics wants it, so that nothing depends on who wrote it.
  std::string LabelNumber(double value) const {
    std::string number;
    AppendNumber(number, value);
    const bool whole = number.find_first_not_of("-0123456789") == std::string::npos;
    if (open_metrics_ && whole) number += ".0";
    return number;
  }

  void WriteSummary(const std::string& name, const ClientMetric& metric) {
    const std::string labels = LabelText(metric.label);
    for (const ClientMetric::Quantile& quantile : metric.summary.quantile) {
      WriteLine(name,
                absl::StrCat(labels, labels.empty() ? "" : ",", "quantile=\"",
                             LabelNumber(quantile.quantile), "\""),
                quantile.value, metric);
    }
    WriteSumAndCount(name, labels, metric.summary.sample_sum, metric.summary.sample_count, metric);
  }

  // The bounds and what else lines of a bucket have in common, by bucket: le="0.001"} and a blank.
  struct Bounds {
    std::vector<double> values;
    std::vector<std::string> texts;
  };

  // Leaves `bounds` as they are when they are those of the histogram before.
  void UpdateBounds(const std::vector<ClientMetric::Bucket>& buckets, Bounds& bounds) const {
    bool same = buckets.size() == bounds.values.size();
    for (size_t i = 0; same && i < buckets.size(); ++i) {
      same = buckets[i].upper_bound == bounds.values[i];
    }
    if (same) return;
    bounds = {};
    for (const ClientMetric::Bucket& bucket : buckets) {
      bounds.values.push_back(bucket.upper_bound);
      bounds.texts.push_back(absl::StrCat("le=\"", LabelNumber(bucket.upper_bound), "\"} "));
    }
  }

  void WriteHistograms(const MetricFamily& family, absl::Span<const HistogramExtras> extras) {
    const std::string bucket_name = family.name + "_bucket{";
    Bounds bounds;
    for (size_t i = 0; i < family.metric.size(); ++i) {
      const ClientMetric& metric = family.metric[i];
      UpdateBounds(metric.histogram.bucket, bounds);
      const std::string labels = LabelText(metric.label);
      WriteBuckets(absl::StrCat(bucket_name, labels, labels.empty() ? "" : ","), bounds, metric,
                   open_metrics_ && i < extras.size() ? absl::MakeConstSpan(extras[i].exemplars)
                                                      : absl::Span<const BucketExemplar>());
      WriteSumAndCount(family.name, labels, metric.histogram.sample_sum,
                       metric.histogram.sample_count, metric);
    }
  }

  void WriteBuckets(const std::string& begin, const Bounds& bounds, const ClientMetric& metric,
                    absl::Span<const BucketExemplar> exemplars) {
    const std::vector<ClientMetric::Bucket>& buckets = metric.histogram.bucket;
    const BucketExemplar* exemplar = exemplars.begin();
    for (size_t i = 0; i < buckets.size(); ++i) {
      out_ += begin;
      out_ += bounds.texts[i];
      AppendCount(out_, buckets[i].cumulative_count);
      WriteTime(metric);
      if (exemplar != exemplars.end() && exemplar->bucket == i) WriteExemplar(*exemplar++);
      out_ += '\n';
    }
    // What has no such bucket counted as if it had: prometheus::TextSerializer does the same.
    if (buckets.empty() || !std::isinf(buckets.back().upper_bound)) {
      absl::StrAppend(&out_, begin, "le=\"+Inf\"} ");
      AppendCount(out_, metric.histogram.sample_count);
      WriteTime(metric);
      out_ += '\n';
    }
  }

  void WriteExemplar(const BucketExemplar& exemplar) {
    absl::StrAppend(&out_, " # {trace_id=\"", exemplar.trace_id, "\"} ");
    AppendNumber(out_, exemplar.value);
    out_ += ' ';
    AppendMillis(out_, exemplar.unix_seconds);
  }

  const bool open_metrics_;
  std::string out_;
};

}  // namespace

std::string WriteText(const MetricPage& page) {
  return TextWriter(/*open_metrics=*/false).Write(page);
}

std::string WriteOpenMetrics(const MetricPage& page) {
  return TextWriter(/*open_metrics=*/true).Write(page);
}

}  // namespace bitmill
