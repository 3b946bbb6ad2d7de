// A comparison as one HTML file with charts.
#pragma once

#include <string>

#include "tools/compare/comparison.h"

namespace bitmill {

// It loads nothing, and runs nothing but what it was built with, whatever the names in it are.
std::string ComparisonHtml(const Comparison& comparison);

}  // namespace bitmill
