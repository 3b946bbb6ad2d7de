// The machine that the program runs on, for reports.
#pragma once

#include <string>

#include "tools/compare/platform_report.h"

namespace bitmill {

// `filesystem_root`: "" in production; tests put /etc and /proc below a folder. What cannot be read
// is empty, or not there.
PlatformMachine ThisMachine(const std::string& filesystem_root = "");

// The levels that this machine has, plainest first.
std::vector<std::string> IsaLevelsHere();

}  // namespace bitmill
