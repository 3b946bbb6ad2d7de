// Which setting pays, within one report.
#pragma once

#include <vector>

#include "tools/compare/comparison.h"

namespace bitmill {

// Pairs of runs of a model that differ in one setting alone. Instruction sets and batches are held
// against the next smaller one, the others against the plainest. The largest mean first.
std::vector<SettingGain> GainsOf(const ComparedFile& file);

}  // namespace bitmill
