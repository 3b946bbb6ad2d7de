#include "tools/compare/comparison_html.h"

#include <vector>

#include "tools/analysis/single_file_page.h"
#include "tools/compare/comparison_text.h"
#include "tools/compare/page/comparison_files.h"

namespace bitmill {

std::string ComparisonHtml(const Comparison& comparison) {
  const std::vector<EmbeddedFile> own = ComparisonPageFiles();
  std::vector<EmbeddedFile> files = {own.front()};
  for (const EmbeddedFile& file : AnalysisPageFiles()) {
    if (file.path == "/page.css" || file.path == "/format.js" || file.path == "/charts.js") {
      files.push_back(file);
    }
  }
  files.insert(files.end(), own.begin() + 1, own.end());
  return SingleFilePage(files, "comparison", ComparisonJson(comparison));
}

}  // namespace bitmill
