// What the analysis says of models whose batches go to one of several backends, and of those that
// are divided between executables: plain values, as the composition root reads them there.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace bitmill {

struct RouteBackendReport {
  std::string backend;
  double drift = 1;  // time of batches of late over the time measured at the load
  bool failed = false;
  int64_t batches = 0;                                        // since the load
  std::vector<std::pair<std::string, int64_t>> reasons = {};  // of these, by reason; none that is 0
  double recent_share = 0;      // of the model's batches of the window; all 0 when there were none
  double wait_us = 0;           // predicted, until a batch would be started there
  int64_t break_even_rows = 0;  // faster than the CPU from so many rows on; 0: never, or the CPU
};

// A size of batches, with a value for each backend.
struct RouteSizeReport {
  int64_t rows = 0;
  std::vector<double> measured_us = {};   // at the load
  std::vector<double> predicted_us = {};  // now, once it is its turn
  std::string goes_to, reason;            // if it came now
};

struct RoutingReport {
  std::vector<RouteBackendReport> backends;  // the CPU first
  std::vector<RouteSizeReport> sizes;        // ascending
};

struct PartReport {
  std::string name, backend;
  double row_macs = 0;
  int64_t weight_bytes = 0;
  int64_t handed_bytes = 0;  // of a row, to other parts
  int64_t rows = 0;          // of the largest batch
  double drift = 1;
};

struct DivisionReport {
  std::string mode;  // "data", "tensor", "pipeline"
  std::vector<PartReport> parts;
};

// Where a model's batches went in the last ticks. Not thread-safe.
class RecentRoutes {
 public:
  explicit RecentRoutes(size_t ticks = 5) : ticks_(ticks) {}
  // Once a tick: fills in the shares, of batches since `ticks` calls ago or the first one.
  void Update(RoutingReport& routing);

 private:
  size_t ticks_;
  std::deque<std::vector<int64_t>> batches_;  // by backend, at the end of each tick
};

}  // namespace bitmill
