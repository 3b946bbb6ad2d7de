#include "server/repository/model_path.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"

namespace bitmill {
namespace {

constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxShownBytes = 100;

absl::StatusOr<std::string> RealPath(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) return ErrnoToStatus(errno, "open", path);
  return std::string(resolved);
}

}  // namespace

bool IsPathComponent(absl::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > kMaxNameBytes) return false;
  for (const char c : name) {
    if (c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

std::string QuoteName(absl::string_view text) {
  const bool cut = text.size() > kMaxShownBytes;
  return absl::StrCat("'", EscapeForLog(text.substr(0, kMaxShownBytes)), cut ? "..." : "", "'");
}

absl::Status CheckModelName(absl::string_view name) {
  if (IsPathComponent(name) && name[0] != '.') return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "model name ", QuoteName(name), ", expected the name of a folder in the repository"));
}

absl::StatusOr<std::string> ResolveInside(const std::string& real_root, const std::string& path) {
  absl::StatusOr<std::string> resolved = RealPath(path);
  if (!resolved.ok()) return resolved;
  if (*resolved != real_root && real_root != "/" &&
      !absl::StartsWith(*resolved, absl::StrCat(real_root, "/"))) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": a symbolic link leads out of the repository"));
  }
  return resolved;
}

absl::StatusOr<std::string> ResolveRoot(const std::string& root) {
  absl::StatusOr<std::string> resolved = RealPath(root);
  if (!resolved.ok()) return resolved;
  struct stat info {};
  if (stat(resolved->c_str(), &info) != 0) return ErrnoToStatus(errno, "open", root);
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(root, ": not a folder"));
  }
  return resolved;
}

}  // namespace bitmill
