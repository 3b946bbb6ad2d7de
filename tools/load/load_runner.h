// The load generator: sends prepared requests to a gRPC server and keeps every latency.
//
// Requests are serialized once and sent as raw bytes over a small HTTP/2 client of our own
// (http2_connection.h) from one thread; answers are parsed only when they are to be checked. A
// request costs the client a fraction of what it costs a gRPC server, so that servers are measured
// and not this program.
//
// Closed loop: `concurrency` requests are always in flight; a latency runs from the call. Open
// loop: requests are sent by a schedule that does not wait for answers; a latency runs from the
// time that the schedule says, so a stalled server is charged for the requests that it delayed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/load/arrivals.h"
#include "tools/load/latency_stats.h"
#include "tools/load/server_process.h"

namespace bitmill {

struct PreparedRequest {
  std::string bytes;  // a serialized inference.ModelInferRequest
  int64_t rows = 1;
  std::vector<int64_t> labels;  // the right class of each row; empty when unknown
};

struct LoadModel {
  std::string name;
  double weight = 1.0;                    // share of the requests, relative to the other models
  std::vector<PreparedRequest> requests;  // sent in turn; at least one
};

struct LoadSettings {
  std::string address;
  int connections = 1;
  double warmup_seconds = 0.5;
  double duration_seconds = 3.0;
  double timeout_seconds = 0.0;  // deadline of a request; 0: none
  double objective_ms = 0.0;     // counts answers within it; 0: none
  bool send_time = false;        // tell the server when each request was sent
  std::vector<std::pair<std::string, std::string>> metadata;  // of each request
  bool check = false;  // compare each answer with the first one to the same request
  uint64_t seed = 1;
  std::optional<ServerProcess> server;  // whose CPU time and memory are read
};

// One measurement. Open loop when `rate` is positive.
struct LoadPoint {
  int concurrency = 1;  // open loop: the most requests in flight; later ones wait, and count
  double rate = 0.0;    // requests a second
  ArrivalKind arrivals = ArrivalKind::kPoisson;
};

struct ModelTally {
  std::string name;      // empty for the sum of all models
  int64_t requests = 0;  // answered with success
  int64_t rows = 0;
  int64_t in_time = 0;  // of the requests: within the objective, all where there is none
  std::map<std::string, int64_t> errors;  // by code: "UNAVAILABLE"; "MISMATCH" for wrong answers
  std::string first_error;                // message of the first one
  int64_t labelled_rows = 0, correct_rows = 0;
  LatencySummary latency;

  int64_t error_count() const;
};

struct LoadResult {
  LoadPoint point;
  double seconds = 0.0;  // length of the window that was measured
  ModelTally total;
  std::vector<ModelTally> models;
  double requests_per_second = 0.0, rows_per_second = 0.0;
  double client_cpu_us = 0.0;  // of this process, a request
  std::optional<double> server_cpu_us;
  std::optional<int64_t> server_rss_bytes;
  // Open loop: how late requests were sent. When its p99 is not far below the latencies, the
  // client is the bottleneck.
  LatencySummary send_lag;
};

// Called about ten times a second with the share of the point that is done, 0 to 1.
using LoadProgress = std::function<void(double)>;

class LoadRunner {
 public:
  // Connects. Unavailable, saying what to do, when the server does not answer. `models` is not
  // empty, weights are positive.
  static absl::StatusOr<std::unique_ptr<LoadRunner>> Create(const LoadSettings& settings,
                                                            std::vector<LoadModel> models);
  ~LoadRunner();

  // Warms up, measures, waits for what is in flight. Failed requests are counted, not returned.
  LoadResult Run(const LoadPoint& point, const LoadProgress& progress);

 private:
  class Impl;
  explicit LoadRunner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitmill
