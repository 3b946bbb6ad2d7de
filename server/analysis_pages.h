// The analysis on the metrics port: the web page, and the JSON that it reads.
#pragma once

#include <vector>

#include "server/analysis/analysis_source.h"
#include "server/metrics/exporter.h"
#include "server/metrics/metrics.h"

namespace bitmill {

// "/" and its files; "/api/report" (?model=NAME for one) and "/api/timeline" (?model=NAME, and
// version, seconds, requests). `analysis` outlives the pages' use.
std::vector<HttpPage> AnalysisPages(const AnalysisSource& analysis, const HostInfo& host);

}  // namespace bitmill
