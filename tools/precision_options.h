// The options of tools/local/precision.h on a command line.
#pragma once

#include "tools/local/precision.h"

namespace CLI {
class App;
}

namespace bitmill {

void AddPrecisionOptions(CLI::App& command, PrecisionChoice& choice);

}  // namespace bitmill
