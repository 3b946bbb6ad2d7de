// The parameters of a model that ask for its answers to be watched, and for a shadow version.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "server/metrics/answer_tap.h"

namespace bitmill {

// Of "watch", "watch_*", "shadow", "shadow_*" and "promote_*"; docs/analysis_quality.md lists them.
// `value_of` gives a parameter's value, "" where it is absent. InvalidArgument names the parameter,
// its value and what is expected.
absl::StatusOr<WatchSettings> ParseWatchSettings(
    const std::function<std::string(const char* key)>& value_of);

}  // namespace bitmill
