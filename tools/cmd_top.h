// bitmill top: what one server or several are doing, as a screen that refreshes itself.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace bitmill {

struct TopOptions {
  std::vector<std::string> targets = {"127.0.0.1:8001"};
  std::string model;  // empty: all
  std::string sort = "rate";
  double interval_seconds = 1;
  double timeout_seconds = 5;
  bool once = false;
};

void AddTopOptions(CLI::App& command, TopOptions& options);

// The exit status: 1 when --once reached not all of the servers, which it says on standard error.
// FailedPrecondition without --once and without a terminal.
absl::StatusOr<int> RunTop(const TopOptions& options);

}  // namespace bitmill
