#include "tools/cmd_compare.h"

#include <cstdio>
#include <utility>

#include "CLI/CLI.hpp"
#include "base/status_macros.h"
#include "tools/cli.h"
#include "tools/compare/comparison.h"
#include "tools/compare/comparison_html.h"
#include "tools/compare/comparison_text.h"
#include "tools/named_file.h"

namespace bitmill {

void AddCompareOptions(CLI::App& command, CompareOptions& options) {
  command
      .add_option("files", options.files,
                  "Reports of 'bitmill bench --report'; ratios are to the first")
      ->required()
      ->type_name("FILE");
  command
      .add_option("--sort", options.sort,
                  "Order of the cases: model; speed: the largest difference first; share: the "
                  "furthest from its ceiling first")
      ->check(CLI::IsMember({"model", "speed", "share"}))
      ->type_name("NAME")
      ->capture_default_str();
  command.add_flag("--markdown", options.markdown, "Print Markdown tables");
  command.add_option("--html", options.html, "Write one HTML file with charts")->type_name("FILE");
  command
      .add_option("--json", options.json,
                  "Write the comparison as JSON; '-' for standard output instead of the tables")
      ->type_name("FILE");
}

absl::StatusOr<int> RunCompare(const CompareOptions& options) {
  BITMILL_RETURN_IF_ERROR(CheckNamedOutput(options.html));
  BITMILL_RETURN_IF_ERROR(CheckNamedOutput(options.json));
  BITMILL_ASSIGN_OR_RETURN(std::vector<ComparedFile> files, ReadComparedFiles(options.files));
  const CaseOrder order = options.sort == "speed"   ? CaseOrder::kSpeed
                          : options.sort == "share" ? CaseOrder::kShare
                                                    : CaseOrder::kModel;
  const Comparison comparison = Compare(std::move(files), order);
  if (!options.html.empty()) {
    BITMILL_RETURN_IF_ERROR(WriteNamedFile(options.html, ComparisonHtml(comparison)));
  }
  if (options.json == "-") {
    std::fputs(ComparisonJson(comparison).c_str(), stdout);
    return kExitOk;
  }
  if (!options.json.empty()) {
    BITMILL_RETURN_IF_ERROR(WriteNamedFile(options.json, ComparisonJson(comparison)));
  }
  const TextForm form = options.markdown ? TextForm::kMarkdown : TextForm::kTerminal;
  std::fputs(ComparisonText(comparison, form).c_str(), stdout);
  return kExitOk;
}

}  // namespace bitmill
