#include "tools/analysis/single_file_page.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"

namespace bitmill {
namespace {

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

std::string SingleFilePage(const std::vector<EmbeddedFile>& files, absl::string_view data_id,
                           absl::string_view json) {
  // In JSON '<' stands only in strings, where it may be written so; nothing can end the element.
  const std::string harmless = absl::StrReplaceAll(json, {{"<", "\\u003c"}});
  std::string page;
  std::string data = absl::StrCat("<script type=\"application/json\" id=\"", data_id, "\">",
                                  harmless, "</script>\n");
  for (const EmbeddedFile& file : files) {
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
