// What the metrics page shows of the analysis. Names, units and meaning: docs/analysis_metrics.md.
#pragma once

#include <functional>
#include <vector>

#include "server/analysis/analysis_source.h"
#include "server/analysis/report.h"
#include "server/metrics/metric_point.h"

namespace bitmill {

// The gauges of a report, by name. Labels are model, version, and names of report.h's enumerations,
// so that a model has at most kCauses + kWarningReasons + 20 series. What is not known is left out.
std::vector<MetricPoint> AnalysisMetrics(const AnalysisReport& report);

// For ServerMetrics::AddSource: the gauges of the newest report, and the adaptations of all reports
// since, counted. `source` must outlive the function, which may be called by several threads.
std::function<std::vector<MetricPoint>()> AnalysisMetricsOf(const AnalysisSource& source);

}  // namespace bitmill
