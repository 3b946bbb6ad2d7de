// The web page that shows the analysis, as files that are built into the program. It loads nothing
// but itself, without inline script or style, and asks api/report and api/timeline beside it, so it
// works under the content security policy of the metrics port.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"

namespace bitmill {

struct EmbeddedFile {
  absl::string_view path;          // "/" for index.html, "/page.js"
  absl::string_view content_type;  // as HTTP's header has it
  absl::string_view bytes;         // live as long as the program
};

// "/" first.
std::vector<EmbeddedFile> AnalysisPageFiles();

}  // namespace bitmill
