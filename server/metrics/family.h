// What a scrape shows, as plain data, before one of the formats writes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/metrics/exemplar.h"
#include "server/metrics/native_histogram.h"

namespace bitmill {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

struct BucketExemplar {
  size_t bucket = 0;
  std::string trace_id;  // 32 hexadecimal digits
  double value = 0;      // in the family's unit
  double unix_seconds = 0;
};

struct HistogramSample {
  std::vector<int64_t> buckets;  // one for each of the family's bounds and one more; not cumulative
  double sum = 0;
  std::vector<BucketExemplar> exemplars;  // by bucket
  // The same values, finely counted; may be apart by requests that were recorded meanwhile. Empty:
  // they are not.
  std::unique_ptr<NativeCounts> native;
};

struct MetricSample {
  MetricLabels labels;
  double value = 0;  // but of histograms
  std::unique_ptr<HistogramSample> histogram;
};

enum class FamilyType : uint8_t { kGauge, kCounter, kHistogram };

struct MetricFamily {
  std::string name;  // whole: "bitmill_requests_total"
  std::string help;
  FamilyType type = FamilyType::kGauge;
  std::vector<double> bounds = {};  // of histograms: upper, inclusive, ascending, without infinity
  std::vector<MetricSample> samples = {};
};

}  // namespace bitmill
