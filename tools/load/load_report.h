// Load results for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "tools/load/load_runner.h"

namespace bitmill {

// What the numbers belong to.
struct LoadReport {
  LoadSettings settings;
  int64_t batch = 1;
  std::vector<LoadResult> results;
};

// "64 in flight", "5,000 requests/s".
std::string PointName(const LoadPoint& point);

// A line a point, then a line a model when there are several, then errors and warnings.
std::string LoadTable(const LoadReport& report);

// {"server", "connections", "batch", "warmup_seconds", "duration_seconds", "seed", "results":
// [...]}; latencies in microseconds.
std::string LoadJson(const LoadReport& report);

}  // namespace bitmill
