// bitmill load: drives any server of the Open Inference Protocol v2 and measures it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/client/oip_client.h"
#include "tools/input/model_inputs.h"
#include "tools/load/load_runner.h"

namespace CLI {
class App;
}

namespace bitmill {

struct LoadOptions {
  LoadSettings settings;
  std::vector<std::string> models;  // "NAME" or "NAME:WEIGHT" or "NAME/VERSION:WEIGHT"
  std::vector<int> concurrency = {1, 4, 16, 64};
  std::vector<double> rates;         // open loop when not empty
  std::string arrivals = "poisson";  // or "constant"
  int max_in_flight = 4096;          // of an open loop
  int64_t batch = 1;
  int server_pid = 0;                // 0: look for it
  std::vector<std::string> headers;  // "NAME:VALUE"
  InputChoice input;
  std::string json;  // file, "-" for standard output, empty for none
  bool allow_errors = false;
};

// A --model argument. InvalidArgument says what is wrong with it.
struct WeightedModel {
  std::string name, version;
  double weight = 1.0;
};
absl::StatusOr<WeightedModel> ParseWeightedModel(const std::string& text);

// --header arguments as names and values. InvalidArgument when they are no metadata that a client
// may send, or too many.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ParseHeaders(
    const std::vector<std::string>& texts);

// Adds the options of `load` to its subcommand.
void AddLoadOptions(CLI::App& command, LoadOptions& options);

// Runs, prints, writes the JSON file. The exit status: 1 when a request failed and errors are not
// allowed.
absl::StatusOr<int> RunLoad(LoadOptions options);

}  // namespace bitmill
