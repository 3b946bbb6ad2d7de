// The metrics of memory budgets and evictions.
#pragma once

#include <vector>

#include "server/metrics/metric_point.h"
#include "server/repository/repository.h"

namespace bitmill {

std::vector<MetricPoint> MemoryMetrics(const MemoryReport& report);

}  // namespace bitmill
