// A server in simulated time, to judge policies that change settings while requests come: queues,
// batches closed by the server's own policy (server/batch/batch_policy.h), admission by its own
// cost model, workers shared by models, the analysis' ticks. Deterministic: the same run gives the
// same numbers everywhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/analysis/queue_replay.h"

namespace bitmill {

// The truth about an execution, which the policies must find out.
struct SimService {
  double a_ms = 1, b_ms = 1;
  int64_t step = 1;       // rows are computed in multiples of it
  double contention = 0;  // as much longer for each execution of the model beside it
  double scatter = 0.05;  // relative, uniform, this standard deviation
};

struct SimModel {
  std::string name = {};
  SimService service = {};
  double objective_ms = 10;
  ModelControls configured = {};
  std::vector<int64_t> preferred_rows = {};
};

enum class SimPolicy : uint8_t {
  kFixed,  // settings stay as configured
  kAimd,   // one row more after each execution in time, a tenth fewer after a late one
  kAdapt,  // server/analysis/adapter.h
};

struct SimSetup {
  int workers = 1;  // executions at a time, of all models
  std::vector<SimModel> models = {};
  std::vector<std::vector<ReplayRequest>> arrivals = {};  // of each model, by time, from 0
  double seconds = 60;
  SimPolicy policy = SimPolicy::kFixed;
  uint64_t seed = 7;  // of the executions' luck
};

struct SimOutcome {
  // Of all models.
  double offered_rows = 0, good_rows = 0;  // good: answered within the objective
  std::vector<double> good_by_second;      // rows, by the second of arrival
  std::vector<Adaptation> changes;
  std::vector<double> change_seconds;   // when
  std::vector<ModelControls> controls;  // of each model, at the end
};

SimOutcome Simulate(const SimSetup& setup);

}  // namespace bitmill
