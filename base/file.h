// Whole files, read or mapped; errors name the path and what the system said.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

// NotFound, PermissionDenied or Internal; ResourceExhausted when the file is larger than max_bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes = int64_t{4} << 30);

// Writes to a temporary file beside `path` and renames it, so that a reader sees the old file or
// the new one, never a part.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);

// Turns errno into a status that names the path.
absl::Status ErrnoToStatus(int error, absl::string_view action, absl::string_view path);

}  // namespace bitmill
