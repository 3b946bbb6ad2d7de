// The page of `bitmill compare --html`: index.html and its code; the style and the helpers are
// those of server/analysis/page.
#pragma once

#include <vector>

#include "server/analysis/page/page_files.h"

namespace bitmill {

// "/" first.
std::vector<EmbeddedFile> ComparisonPageFiles();

}  // namespace bitmill
