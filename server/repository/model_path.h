// Names of models and files, and the rule that nothing outside of the repository is ever opened.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

// One name without '/', not empty, "." or "..", at most 255 bytes, no control characters.
bool IsPathComponent(absl::string_view name);

// InvalidArgument unless it is a path component that is not hidden (no leading '.').
absl::Status CheckModelName(absl::string_view name);

// `text` for a message: quoted, escaped, shortened.
std::string QuoteName(absl::string_view text);

// The file or folder that `path` leads to, symbolic links resolved. NotFound when there is none,
// PermissionDenied when it may not be read or lies outside of `real_root` (itself resolved).
absl::StatusOr<std::string> ResolveInside(const std::string& real_root, const std::string& path);

// `root` resolved; NotFound or InvalidArgument unless it is a folder.
absl::StatusOr<std::string> ResolveRoot(const std::string& root);

}  // namespace bitmill
