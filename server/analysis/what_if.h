// The window's own arrivals, replayed with something changed: another setting, or executions
// without what disturbed them. An execution of the replay is disturbed like the one of the window
// that started nearest to it.
//
// What is recovered is relative: the replay with the change against the replay without one, as a
// share of the p99 that was seen. So an error that both replays have cancels.
#pragma once

#include <cstdint>
#include <vector>

#include "server/analysis/queue_replay.h"
#include "server/analysis/window_parts.h"

namespace bitmill {

// How the replay goes. An execution that starts nearest to execution i of the window takes
//   clean(rows computed) * scale[i] + wait_ns[i].
struct Scenario {
  std::vector<double> scale, wait_ns;  // of each execution of the window
  std::vector<double> less_ns;         // of each answered request: taken from its time around
  ModelControls controls;
  double backlog = 1;        // share of the queue that the window began with
  bool padded = true;        // computes the padding too
  double arriving = 1;       // share of the requests that arrive, spread evenly
  bool by_instance = false;  // nearest: of the same instance
};

class WhatIf {
 public:
  // Borrows `parts`. At most kReplayed requests are replayed, the newest.
  explicit WhatIf(const WindowParts& parts);

  static constexpr size_t kReplayed = 12'000;

  // As it was.
  Scenario AsIs() const;
  // Undisturbed and without padding, on as many instances as have a CPU.
  Scenario Undisturbed() const;
  // p99 of the replay, ns; 0 when nothing is answered.
  double P99(const Scenario& scenario) const;
  // Milliseconds of the p99 that was seen which p99s of replays differ by; not negative.
  double RecoveredMs(double p99_before, double p99_after) const;
  double RecoveredMs(const Scenario& scenario) const {
    return RecoveredMs(as_is_p99_, P99(scenario));
  }
  double as_is_p99() const { return as_is_p99_; }

 private:
  struct Arrival {
    int32_t record = 0;     // in the window's requests
    int32_t answered = -1;  // in parts.requests; -1: it was not answered
    MonotonicNanos arrive_ns = 0;
  };
  void CollectArrivals();
  void FindBacklog();
  ServiceTime Service(const Scenario& scenario) const;

  const WindowParts& parts_;
  std::vector<Arrival> arrivals_;
  int64_t backlog_requests_ = 0;
  std::vector<std::vector<size_t>> of_instance_;  // executions
  double as_is_p99_ = 0;
};

}  // namespace bitmill
