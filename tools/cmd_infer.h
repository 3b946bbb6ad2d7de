// bitmill infer: runs a model on data, in this process or on a server, and shows the answers.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "tools/input/model_inputs.h"
#include "tools/local/precision.h"

namespace CLI {
class App;
}

namespace bitmill {

struct InferOptions {
  std::string model;   // a file or folder; with a server, the name of a model ("name/version" too)
  std::string server;  // HOST:PORT; empty: run here
  InputChoice input;
  std::string golden;  // .npz with x, y and atol; empty: none
  double atol = -1.0;  // negative: what the golden file says
  int64_t top = 3;
  int64_t rows_shown = 10;
  int64_t batch = 0;  // 0: 1 for a server, 64 here
  std::string isa = "auto";
  int threads = 1;                    // that share a batch, without a server
  PrecisionChoice precision;          // without a server
  std::string plan_cache = "beside";  // likewise, and with precision exact
  double tune_seconds = 0.0;          // without a server
  bool json = false;
};

void AddInferOptions(CLI::App& command, InferOptions& options);

// Prints the answers. The exit status: 1 when a golden comparison failed.
absl::StatusOr<int> RunInfer(const InferOptions& options);

}  // namespace bitmill
