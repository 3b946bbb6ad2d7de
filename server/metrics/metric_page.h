// What a scrape shows, before one of the formats writes it: families of prometheus-cpp, and beside
// them what prometheus-cpp 1.0 has no place for (docs/decisions/0018-metrics-writers.md).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "prometheus/metric_family.h"
#include "server/metrics/exemplar.h"
#include "server/metrics/native_histogram.h"

namespace bitmill {

using MetricLabels = std::vector<prometheus::ClientMetric::Label>;

struct BucketExemplar {
  size_t bucket = 0;
  std::string trace_id;  // 32 hexadecimal digits
  double value = 0;      // in the family's unit
  double unix_seconds = 0;
};

struct HistogramExtras {
  std::vector<BucketExemplar> exemplars;  // by bucket
  std::optional<NativeCounts> native;     // the same values in native buckets, where there are any
};

struct MetricPage {
  std::vector<prometheus::MetricFamily> families;
  // By name of the family: element i belongs to its metric i. Fewer elements, or no entry: the
  // metrics have none.
  absl::flat_hash_map<std::string, std::vector<HistogramExtras>> extras = {};

  absl::Span<const HistogramExtras> ExtrasOf(const prometheus::MetricFamily& family) const {
    const auto found = extras.find(family.name);
    if (found == extras.end()) return {};
    return found->second;
  }
};

// A family without metrics yet.
inline prometheus::MetricFamily NewFamily(std::string name, prometheus::MetricType type,
                                          std::string help) {
  return {.name = std::move(name), .help = std::move(help), .type = type, .metric = {}};
}

// Another metric, without a value.
inline prometheus::ClientMetric& AddMetric(prometheus::MetricFamily& family, MetricLabels labels) {
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  return metric;
}

// `family` is of counters or of gauges.
inline void AddValue(prometheus::MetricFamily& family, MetricLabels labels, double value) {
  prometheus::ClientMetric& metric = AddMetric(family, std::move(labels));
  (family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) =
      value;
}

// Of a metric that is not a histogram or a summary; of a type that is not known, as untyped.
inline double ValueOf(const prometheus::MetricFamily& family,
                      const prometheus::ClientMetric& metric) {
  if (family.type == prometheus::MetricType::Counter) return metric.counter.value;
  if (family.type == prometheus::MetricType::Gauge) return metric.gauge.value;
  return metric.untyped.value;
}

}  // namespace bitmill
