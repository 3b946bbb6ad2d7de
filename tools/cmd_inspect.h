// bitmill inspect: what a model file holds and what becomes of it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "model/graph.h"
#include "tools/local/precision.h"

namespace CLI {
class App;
}

namespace bitmill {

struct InspectOptions {
  std::string model;       // a file, or a folder of a model repository
  bool plan = false;       // the compiled plan
  bool reference = false;  // the graph before lowering, node by node
  std::string isa = "auto";
  int64_t max_rows = 1;
  std::string plan_cache = "beside";
  double tune_seconds = 0.0;
  // What computes it, as in the configuration of a served model: a backend, and how it is divided.
  std::string backend = "cpu";
  std::string parallel = "off";
  int64_t route_ms = 200;
  std::string cuda_device, opencl_device, opencl_cache = "off";
  PrecisionChoice precision;
  std::string labels;  // of the calibration rows; an array of that file, or a file
};

void AddInspectOptions(CLI::App& command, InspectOptions& options);

absl::Status RunInspect(const InspectOptions& options);

// The parts of the report; `graph` is not lowered.
std::string DescribePorts(const Graph& graph);
std::string DescribeOperators(const Graph& graph);
std::string DescribeNodes(const Graph& graph);
// Weights by kind (1-bit, ternary, ..., float) as lowering finds them.
absl::StatusOr<std::string> DescribeWeights(const Graph& graph);
// Where batches of each size go and why, and the parts of a divided model; empty for a model that
// is neither routed nor divided.
std::string DescribePlaces(const Executable& executable);

}  // namespace bitmill
