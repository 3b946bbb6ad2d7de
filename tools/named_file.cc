#include "tools/named_file.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<std::string> ReadAll(std::FILE* stream) {
  std::string contents;
  std::array<char, 65536> piece{};
  size_t count = 0;
  while ((count = std::fread(piece.data(), 1, piece.size(), stream)) > 0) {
    contents.append(piece.data(), count);
  }
  if (std::ferror(stream) != 0) return ErrnoToStatus(errno, "read", "standard input");
  return contents;
}

absl::Status WriteAll(std::FILE* stream, absl::string_view contents, const std::string& name) {
  const bool written =
      std::fwrite(contents.data(), 1, contents.size(), stream) == contents.size() &&
      std::fflush(stream) == 0;
  return written ? absl::OkStatus() : ErrnoToStatus(errno, "write", name);
}

}  // namespace

absl::StatusOr<std::string> ReadNamedFile(const std::string& path) {
  return path == "-" ? ReadAll(stdin) : ReadFile(path);
}

absl::Status CheckNamedOutput(const std::string& path) {
  if (path.empty() || path == "-") return absl::OkStatus();
  std::error_code error;
  const fs::file_status there = fs::status(path, error);
  if (fs::is_directory(there)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is a folder, expected a file's name"));
  }
  if (fs::exists(there) && !fs::is_regular_file(there)) return absl::OkStatus();
  fs::path folder = fs::path(path).parent_path();
  if (folder.empty()) folder = ".";
  if (!fs::is_directory(folder, error)) {
    return absl::NotFoundError(
        absl::StrCat("cannot write ", path, ": there is no folder ", folder.string()));
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) {
    return ErrnoToStatus(errno, "write to folder", folder.string());
  }
  return absl::OkStatus();
}

absl::Status WriteNamedFile(const std::string& path, absl::string_view contents) {
  if (path == "-") return WriteAll(stdout, contents, "standard output");
  std::error_code error;
  const fs::file_status there = fs::status(path, error);
  if (!fs::exists(there) || fs::is_regular_file(there)) {
    BITMILL_RETURN_IF_ERROR(CheckNamedOutput(path));
    return WriteFileAtomically(path, contents);
  }
  std::FILE* const stream = std::fopen(path.c_str(), "wbe");
  if (stream == nullptr) return ErrnoToStatus(errno, "open", path);
  absl::Status written = WriteAll(stream, contents, path);
  std::fclose(stream);
  return written;
}

}  // namespace bitmill
