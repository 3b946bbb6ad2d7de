// bitmill report: a server's performance analysis as one HTML file with charts.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace bitmill {

struct ReportOptions {
  std::string address;  // of a server; empty: 127.0.0.1:8001
  std::string from;     // instead: a saved report; '-': standard input
  std::string model;    // empty: all
  int history_seconds = 600;
  double timeout_seconds = 5;
  std::string output = "bitmill-report.html";  // '-': standard output; empty: none
  std::string json;                            // '-': standard output; empty: none
};

void AddReportOptions(CLI::App& command, ReportOptions& options);

// The exit status. InvalidArgument for misuse, otherwise what went wrong.
absl::StatusOr<int> RunReport(const ReportOptions& options);

}  // namespace bitmill
