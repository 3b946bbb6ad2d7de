// A web page with its style, its code and its data in one file that loads nothing.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/analysis/page/page_files.h"

namespace bitmill {

// `files`: the page first, then what it names, each in the way it names it: style sheets, scripts
// in order, its icon (which is left out). The page has one <meta charset="utf-8"> line. Before the
// first script stands `json`, as a JSON script element called `data_id`. The file's own policy
// forbids it to load or send anything, and no name in the data can end the element.
std::string SingleFilePage(const std::vector<EmbeddedFile>& files, absl::string_view data_id,
                           absl::string_view json);

}  // namespace bitmill
