#include "tools/analysis/html_report.h"

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "google/protobuf/util/json_util.h"
#include "server/analysis/page/page_files.h"
#include "tools/analysis/single_file_page.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;
using google::protobuf::util::JsonParseOptions;
using google::protobuf::util::JsonPrintOptions;
using google::protobuf::util::JsonStringToMessage;

}  // namespace

std::string SavedReportJson(const pb::SavedReport& saved) {
  JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  BITMILL_CHECK(google::protobuf::util::MessageToJsonString(saved, &json, options).ok());
  json += '\n';
  return json;
}

absl::StatusOr<pb::SavedReport> ParseSavedReport(absl::string_view json) {
  JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const std::string text(json);
  pb::SavedReport saved;
  const auto parsed = JsonStringToMessage(text, &saved, options);
  if (parsed.ok() && saved.has_report()) return saved;
  saved.Clear();
  pb::Report& report = *saved.mutable_report();
  if (parsed.ok() && JsonStringToMessage(text, &report, options).ok() && report.unix_millis() > 0) {
    return saved;
  }
  return absl::InvalidArgumentError(
      parsed.ok() ? "it holds no report, as 'bitmill report --json' or /api/report give it"
                  : absl::StrCat("it is no JSON of a report: ", std::string(parsed.message())));
}

std::string HtmlReport(const pb::SavedReport& saved) {
  return SingleFilePage(AnalysisPageFiles(), "saved-report", SavedReportJson(saved));
}

}  // namespace bitmill
