#include "server/repository/promoted_version.h"

#include <algorithm>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/repository/model_path.h"
#include "server/repository/model_scan.h"

namespace bitmill {
namespace {

constexpr char kFile[] = "promoted_version";
constexpr int64_t kMaxBytes = 64;

}  // namespace

int64_t ChooseAnswering(int64_t kept, const std::vector<int64_t>& ready) {
  if (std::ranges::find(ready, kept) != ready.end()) return kept;
  return ready.size() >= 2 ? ready[ready.size() - 2] : ready.back();
}

int64_t ReadPromotedVersion(const std::string& real_root, const std::string& model_folder) {
  const std::string path = absl::StrCat(model_folder, "/", kFile);
  const absl::StatusOr<std::string> real = ResolveInside(real_root, path);
  if (absl::IsNotFound(real.status())) return 0;
  const absl::StatusOr<std::string> text = real.ok() ? ReadFile(*real, kMaxBytes) : real.status();
  int64_t version = 0;
  if (!text.ok()) {
    LogWarning(text.status().message());
  } else if (!ParseVersion(absl::StripAsciiWhitespace(*text), version)) {
    LogWarning(absl::StrCat(path, ": not the number of a version; ignored"));
    return 0;
  }
  return version;
}

absl::Status WritePromotedVersion(const std::string& real_root, const std::string& model_folder,
                                  int64_t version) {
  // The folder may be a link; the file is put where it leads to, never outside of the repository.
  BITMILL_ASSIGN_OR_RETURN(const std::string real, ResolveInside(real_root, model_folder));
  return WriteFileAtomically(absl::StrCat(real, "/", kFile), absl::StrCat(version, "\n"));
}

}  // namespace bitmill
