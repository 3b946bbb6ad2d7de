// Files that are named on the command line; '-' is standard input or output.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

// Standard input is read to its end. Errors as for ReadFile.
absl::StatusOr<std::string> ReadNamedFile(const std::string& path);

// Whether WriteNamedFile has a place to write to, to be asked before long work: NotFound or
// PermissionDenied for the folder, InvalidArgument for a folder in the file's place. OK for "".
absl::Status CheckNamedOutput(const std::string& path);

// A file is replaced as a whole; what is there and is no file (/dev/null, a pipe) is written to.
absl::Status WriteNamedFile(const std::string& path, absl::string_view contents);

}  // namespace bitmill
