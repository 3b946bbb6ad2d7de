// What the analysis is told of models that are routed between backends or divided between
// executables (server/analysis/routing_report.h).
#pragma once

#include <optional>

#include "backends/backend.h"
#include "server/analysis/routing_report.h"

namespace bitmill {

// Nothing for a model that is not routed, or not divided. Thread-safe. Shares of recent batches are
// left to the analysis.
std::optional<RoutingReport> RoutingOf(const Executable& executable);
std::optional<DivisionReport> DivisionOf(const Executable& executable);

}  // namespace bitmill
