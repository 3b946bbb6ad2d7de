// Whole files, read or mapped; errors name the path and what the system said.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace bitmill {

// Changes whenever the file is replaced or written to; all zero when there is none.
struct FileStamp {
  uint64_t device = 0, inode = 0;
  int64_t bytes = 0, modified_ns = 0, changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

// Of an open file. InvalidArgument unless it is a regular one; `path` is for messages.
absl::StatusOr<FileStamp> StampOfOpenFile(int fd, const std::string& path);
absl::StatusOr<FileStamp> StampOfFile(const std::string& path);

// NotFound, PermissionDenied or Internal; ResourceExhausted when the file is larger than max_bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes = int64_t{4} << 30);

// Writes to a temporary file of its own beside `path` and renames it, so that a reader sees the old
// file or the new one, never a part, and writers do not meet.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);
// The same; the contents are these pieces one behind the other. `mode`: who may read and write the
// file, as chmod has it.
absl::Status WriteFileAtomically(const std::string& path,
                                 absl::Span<const absl::string_view> pieces, uint32_t mode = 0644);

// The hash (base/hash.h) of a file's bytes, and the stamp that it had before and after; Unavailable
// when it changed meanwhile, otherwise errors as for ReadFile.
struct HashedFile {
  FileStamp stamp;
  uint64_t hash = 0;
};
absl::StatusOr<HashedFile> HashFile(const std::string& path);

// Turns errno into a status that names the path.
absl::Status ErrnoToStatus(int error, absl::string_view action, absl::string_view path);

}  // namespace bitmill
