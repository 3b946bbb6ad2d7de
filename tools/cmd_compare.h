// bitmill compare: reports of `bitmill bench --report` side by side.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace bitmill {

struct CompareOptions {
  std::vector<std::string> files;  // the first is what the others are held against
  std::string sort = "model";      // or "speed", "share"
  bool markdown = false;
  std::string html, json;  // files to write; empty: none; json "-": standard output
};

void AddCompareOptions(CLI::App& command, CompareOptions& options);

// Prints the tables, unless JSON goes to standard output; the exit status. Errors name the file.
absl::StatusOr<int> RunCompare(const CompareOptions& options);

}  // namespace bitmill
