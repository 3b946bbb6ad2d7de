// How much a model can serve: rows per second at saturation, and the largest load whose p99 stays
// within an objective.
//
// At saturation every execution is full, so that the instances give max_rows / S(max_rows) each. An
// I/O thread can receive and answer only so many requests, which is what limits a model of
// microseconds; and all of it together needs CPUs. The least of the three is what can be served.
// The p99 at a load below
// that comes from replays (queue_replay.h) of Poisson arrivals over a grid of loads, once for a
// shape of the model: only the proportions of a, b max_rows and the delay matter, not the unit of
// time, so that a throttle, which scales all, needs no new replay. Loads are replayed when they are
// asked for, with all below them: 2 ms at a tenth of saturation, 60 ms near it, several times that
// where stalls are rare.
#pragma once

#include <cstdint>
#include <vector>

#include "server/analysis/report.h"
#include "server/analysis/service_line_fit.h"

namespace bitmill {

// Rows per second when so many executions run and all are full; 0 while the line is not known.
double SaturationRowsPerSecond(const ServiceLine& line, int64_t max_rows, double parallel);

// What serving a version takes.
struct ServingCost {
  ServiceLine line;
  int64_t max_rows = 1;
  int instances = 1;
  // The part of an execution's time that is spent on a CPU, 0 to 1: one that is held back, by a
  // quota or by others, takes longer without using more.
  double cpu_share = 1;
  double cpu_budget_cores = 0;  // 0: not known
  double receive_ms = 0;        // of an I/O thread's CPU, for a request; 0: not known
  int io_threads = 1;
  double rows_per_request = 1;
  double inline_share = 0;  // of the rows, 0 to 1: their execution is in receive_ms
};

struct Saturation {
  double rows_per_s = 0;  // 0: the line is not known
  CapacityLimit limit = CapacityLimit::kInstances;
};
Saturation SaturationOf(const ServingCost& cost);

// What the p99 at a load depends on, but for the unit of time.
struct QueueShape {
  double share_a = 0.5;  // of S(max_rows)
  double delay = 0;      // longest wait for company over S(max_rows)
  int64_t max_rows = 1;
  int instances = 1;
  std::vector<int32_t> request_rows = {1};  // a sample of the requests' sizes
  std::vector<double> ratios = {1};         // Variation::ratios
  double stall_rate = 0;                    // stalls in a run of the typical time of max_rows
  std::vector<double> stalls = {};          // what they add, over that time

  // Mean over typical time.
  double stretch() const;
  // Whether the curve of the one is good enough for the other: 3 % of a's share, 10 % of the
  // requests' sizes, a quarter of what stalls add.
  bool Like(const QueueShape& other) const;
};

// Of a request a row. The line is that of the mean time.
QueueShape ShapeOf(const ServiceLine& line, const ModelControls& controls,
                   const Variation& variation = {});

// p99 over load of a shape. Replays as far as it is asked; the answers do not depend on the order.
// Not thread-safe.
class LatencyCurve {
 public:
  // Of no shape: P99 is 0.
  LatencyCurve() = default;
  // Replays about `requests` arrivals at half load, more above; none before it is asked.
  explicit LatencyCurve(const QueueShape& shape, int requests = 16'000);

  bool known() const { return requests_ > 0; }
  const QueueShape& shape() const { return shape_; }
  // p99 over S(max_rows), at `load` of saturation (0 and more). Above 97 % it grows as 1 over what
  // is free; at 1 and more it is infinite.
  double P99(double load);
  // The largest load (0 to 1) with at most that p99 over S(max_rows); 0 when none is low enough.
  double LoadWithin(double p99);
  // Requests that were replayed until now: about 100 ns each.
  int64_t replayed() const { return replayed_; }

 private:
  double At(size_t i);  // of the grid

  QueueShape shape_;
  int requests_ = 0;
  int64_t replayed_ = 0;
  std::vector<double> p99_;  // at the first loads of the grid; does not decrease
};

}  // namespace bitmill
