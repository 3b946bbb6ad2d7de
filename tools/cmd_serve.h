// bitmill serve: the server.
#pragma once

#include "server/app.h"

namespace CLI {
class App;
}

namespace bitmill {

void AddServeOptions(CLI::App& command, ServeOptions& options);

// Serves until a signal. The exit status; errors have been printed.
int RunServe(const ServeOptions& options, const ServeParts& parts = {});

}  // namespace bitmill
