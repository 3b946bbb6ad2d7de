// bitmill bench: how fast kernels and whole models run here, against what the machine allows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/local/precision.h"

namespace CLI {
class App;
}

namespace bitmill {

struct BenchOptions {
  std::vector<std::string> models;  // files or folders; empty: those of the shipped repository
  std::string suite = "models";     // "kernels" or "roofline"
  std::string json;                 // file, "-" for standard output, empty for none
  std::string report;               // file for `bitmill compare`; models
  bool sweep = false;               // of the report: other settings, too
  std::string isa = "auto";
  std::string filter;  // part of a name; empty: all
  int threads = 1;
  std::vector<int64_t> batches;  // empty: what the suite is made for
  bool quick = false;
  bool all = false;    // kernels: every one that runs here
  bool steps = false;  // models: show them
  PrecisionChoice precision;
  double tune_seconds = 0.0;       // models
  std::string plan_cache = "off";  // models: where plans are kept, "beside" the file or a folder
};

void AddBenchOptions(CLI::App& command, BenchOptions& options);

// Prints the ceilings, then the results; the exit status.
absl::StatusOr<int> RunBench(const BenchOptions& options);

}  // namespace bitmill
