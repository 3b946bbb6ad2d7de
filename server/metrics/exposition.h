// The formats in which a scrape is answered, and which of them a client wants.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace bitmill {

struct MetricPage;

enum class MetricsFormat : uint8_t {
  kText,         // Prometheus text 0.0.4: what everything reads
  kOpenMetrics,  // OpenMetrics text 1.0.0: with exemplars
  kProtobuf,     // io.prometheus.client.MetricFamily, delimited: with native histograms too
};

// By the Accept header of a request: what it gives the highest weight, of equal ones the first.
// Text where nothing fits, as Prometheus' own clients do.
MetricsFormat ChooseMetricsFormat(absl::string_view accept);

// The value of the Content-Type header.
const char* MetricsContentType(MetricsFormat format);

std::string WriteMetrics(const MetricPage& page, MetricsFormat format);

}  // namespace bitmill
