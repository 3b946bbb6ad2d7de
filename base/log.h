// The one global of the program: a logger. Lines go to standard error as
//   2026-01-31T12:00:00.123Z INFO  model loaded name=digits version=1 ms=12
// Control characters and newlines in the text are escaped, so that a name from a request cannot
// forge a line. Thread-safe. Do not log on the request path.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace bitmill {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// InvalidArgument unless `name` is debug, info, warning, error or off.
absl::Status SetLogLevel(absl::string_view name);
// Text lines (the default) or one JSON object a line.
void SetLogJson(bool json);

void Log(LogLevel level, absl::string_view message);
inline void LogDebug(absl::string_view message) { Log(LogLevel::kDebug, message); }
inline void LogInfo(absl::string_view message) { Log(LogLevel::kInfo, message); }
inline void LogWarning(absl::string_view message) { Log(LogLevel::kWarning, message); }
inline void LogError(absl::string_view message) { Log(LogLevel::kError, message); }

// The message as it is written: control characters as \n, \t, \xNN.
std::string EscapeForLog(absl::string_view message);

}  // namespace bitmill
