// The web page that shows the analysis, as files that are built into the program. It loads nothing
// but itself and asks api/report and api/timeline beside it, so it works under the content security
// policy below.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"

namespace bitmill {

struct EmbeddedFile {
  absl::string_view path;          // "/" for index.html, "/page.js"
  absl::string_view content_type;  // as HTTP's header has it
  absl::string_view bytes;         // live as long as the program
};

// To be sent with each of them.
inline constexpr absl::string_view kAnalysisPagePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// "/" first.
std::vector<EmbeddedFile> AnalysisPageFiles();

}  // namespace bitmill
