// One writer a format.
#pragma once

#include <string>
#include <vector>

#include "server/metrics/family.h"

namespace bitmill {

// Prometheus text 0.0.4. About 60 ns a line.
std::string WriteText(const std::vector<MetricFamily>& families);

// OpenMetrics text 1.0.0, https://github.com/OpenObservability/OpenMetrics (specification 1.0). A
// counter whose name does not end in _total, which that format does not know, is of unknown type:
// so it keeps its name.
std::string WriteOpenMetrics(const std::vector<MetricFamily>& families);

// Messages of proto/prometheus.proto, each after its length as a varint.
std::string WriteProtobuf(const std::vector<MetricFamily>& families);

}  // namespace bitmill
