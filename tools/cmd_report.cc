#include "tools/cmd_report.h"

#include <cstdio>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "tools/address_option.h"
#include "tools/analysis/analysis_client.h"
#include "tools/analysis/html_report.h"
#include "tools/named_file.h"
#include "tools/text/text_table.h"

namespace bitmill {
namespace {

using analysis::v1::SavedReport;

constexpr char kThisMachine[] = "127.0.0.1:8001";

absl::Status Write(const std::string& path, const std::string& contents, const char* what) {
  if (path.empty()) return absl::OkStatus();
  BITMILL_RETURN_IF_ERROR(WriteNamedFile(path, contents));
  if (path == "-") return absl::OkStatus();
  std::fprintf(stderr, "%s: %s, %s\n", path.c_str(), what,
               Bytes(static_cast<double>(contents.size())).c_str());
  return absl::OkStatus();
}

absl::StatusOr<SavedReport> Load(const ReportOptions& options) {
  if (options.from.empty()) {
    return AskSavedReport(options.address.empty() ? kThisMachine : options.address, options.model,
                          options.history_seconds, absl::Seconds(options.timeout_seconds));
  }
  if (!options.address.empty()) {
    return absl::InvalidArgumentError("give a server or --from FILE, not both");
  }
  BITMILL_ASSIGN_OR_RETURN(const std::string json, ReadNamedFile(options.from));
  absl::StatusOr<SavedReport> saved = ParseSavedReport(json);
  if (!saved.ok()) {
    const std::string& name = options.from == "-" ? "standard input" : options.from;
    return absl::DataLossError(absl::StrCat(name, ": ", saved.status().message()));
  }
  return saved;
}

}  // namespace

void AddReportOptions(CLI::App& command, ReportOptions& options) {
  CheckAddresses(*command
                      .add_option("address", options.address,
                                  absl::StrCat("Server; ", kThisMachine, " when left out"))
                      ->type_name("HOST:PORT"));
  command
      .add_option("--from", options.from,
                  "Instead of a server: a report saved with --json, or from /api/report; '-' for "
                  "standard input")
      ->type_name("FILE");
  command.add_option("-m,--model", options.model, "Only the versions of this model")
      ->type_name("NAME");
  command.add_option("-o,--output", options.output, "HTML file to write; '-' for standard output")
      ->type_name("FILE")
      ->capture_default_str();
  command.add_option("--json", options.json, "Write the report as JSON too")->type_name("FILE");
  command.add_option("--seconds", options.history_seconds, "How much of each model's history")
      ->type_name("SECONDS")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  command.add_option("--timeout", options.timeout_seconds, "How long to wait for each answer")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.01, 3'600.0))
      ->capture_default_str();
}

absl::StatusOr<int> RunReport(const ReportOptions& options) {
  if (options.output == "-" && options.json == "-") {
    return absl::InvalidArgumentError("only one of --output and --json can be '-'");
  }
  BITMILL_RETURN_IF_ERROR(CheckNamedOutput(options.output));
  BITMILL_RETURN_IF_ERROR(CheckNamedOutput(options.json));
  BITMILL_ASSIGN_OR_RETURN(const SavedReport saved, Load(options));
  BITMILL_RETURN_IF_ERROR(Write(options.output, HtmlReport(saved), "report"));
  if (!options.json.empty()) {
    BITMILL_RETURN_IF_ERROR(Write(options.json, SavedReportJson(saved), "report as JSON"));
  }
  return 0;
}

}  // namespace bitmill
