// A comparison for people and for programs.
#pragma once

#include <string>

#include "tools/compare/comparison.h"

namespace bitmill {

enum class TextForm { kTerminal, kMarkdown };

// Machines, ceilings, cases, ranks, gains and notes, each as a table. With kTerminal the table of
// ranks also has bars. Names from the files are made harmless.
std::string ComparisonText(const Comparison& comparison, TextForm form);

std::string ComparisonJson(const Comparison& comparison);

}  // namespace bitmill
