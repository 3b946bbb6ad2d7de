// WatchReport: each report as it is made, the newest first; a slow client skips some.
#pragma once

#include <memory>

#include "server/frontend/update_stream.h"

namespace bitmill {

inline constexpr char kWatchReportMethod[] = "/bitmill.analysis.v1.AnalysisService/WatchReport";

// For one call.
std::unique_ptr<UpdateSource> CreateReportUpdates(const FrontendContext& context);

}  // namespace bitmill
