// One writer a format.
#pragma once

#include <string>

#include "server/metrics/metric_page.h"

namespace bitmill {

// Prometheus text 0.0.4, without what the page has beside its families. About 60 ns a line.
std::string WriteText(const MetricPage& page);

// OpenMetrics text 1.0.0, https://github.com/OpenObservability/OpenMetrics (specification 1.0). A
// counter whose name does not end in _total, which that format does not know, is of unknown type:
// so it keeps its name. Bounds of buckets are written 1.0, not 1.
std::string WriteOpenMetrics(const MetricPage& page);

// Messages of proto/prometheus.proto, each after its length as a varint.
std::string WriteProtobuf(const MetricPage& page);

}  // namespace bitmill
