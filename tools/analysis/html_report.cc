#include "tools/analysis/html_report.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "google/protobuf/util/json_util.h"
#include "server/analysis/page/page_files.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;
using google::protobuf::util::JsonParseOptions;
using google::protobuf::util::JsonPrintOptions;
using google::protobuf::util::JsonStringToMessage;

// What the file may do: nothing that leaves it.
constexpr absl::string_view kPolicy =
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src "
    "'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action "
    "'none'\">\n";

// Puts `with` in the place of `what`, which the page has once.
void Replace(absl::string_view what, absl::string_view with, std::string& page) {
  const size_t at = page.find(std::string(what));
  BITMILL_CHECK(at != std::string::npos);
  page.replace(at, what.size(), with.data(), with.size());
}

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
  // In JSON '<' stands only in strings, where it may be written so; nothing can end the element.
  const std::string json = absl::StrReplaceAll(SavedReportJson(saved), {{"<", "\\u003c"}});
  std::string page;
  std::string data =
      absl::StrCat("<script type=\"application/json\" id=\"saved-report\">", json, "</script>\n");
  for (const EmbeddedFile& file : AnalysisPageFiles()) {
    if (file.path == "/") {
      page = std::string(file.bytes);
      Replace("<meta charset=\"utf-8\">\n", absl::StrCat("<meta charset=\"utf-8\">\n", kPolicy),
              page);
      continue;
    }
    const absl::string_view name = file.path.substr(1);
    if (absl::EndsWith(name, ".css")) {
      Replace(absl::StrCat("<link rel=\"stylesheet\" href=\"", name, "\">"),
              absl::StrCat("<style>\n", file.bytes, "</style>"), page);
    } else if (absl::EndsWith(name, ".js")) {
      BITMILL_CHECK(!absl::StrContains(file.bytes, "</script"));
      Replace(absl::StrCat("<script src=\"", name, "\"></script>"),
              absl::StrCat(data, "<script>\n", file.bytes, "</script>"), page);
      data.clear();  // before the first of them
    } else {
      Replace(
          absl::StrCat("<link rel=\"icon\" href=\"", name, "\" type=\"", file.content_type, "\">"),
          "<link rel=\"icon\" href=\"data:,\">", page);
    }
  }
  return page;
}

}  // namespace bitmill
