#include "server/repository/model_scan.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/repository/model_path.h"

namespace bitmill {
namespace {

constexpr char kConfigName[] = "config.pbtxt";
constexpr char kDefaultFile[] = "model.onnx";
constexpr char kWarmupFolder[] = "warmup";
constexpr size_t kMaxEntries = 100'000;
constexpr size_t kMaxSkipped = 20;

int64_t ToNanos(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// Names of the visible entries, sorted; a folder with an absurd number of them is cut off.
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), closedir);
  if (dir == nullptr) return ErrnoToStatus(errno, "list", folder);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(dir.get())) {
    if (entry->d_name[0] == '.') continue;
    if (names.size() == kMaxEntries) {
      return absl::ResourceExhaustedError(
          absl::StrCat(folder, ": more than ", kMaxEntries, " entries"));
    }
    names.emplace_back(entry->d_name);
    errno = 0;
  }
  if (errno != 0) return ErrnoToStatus(errno, "list", folder);
  std::sort(names.begin(), names.end());
  return names;
}

bool IsFolder(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

VersionOnDisk ScanVersion(const std::string& real_root, const std::string& folder,
                          const std::string& filename) {
  VersionOnDisk version;
  version.file = absl::StrCat(folder, "/", filename);
  absl::StatusOr<FileStamp> stamp = StampOf(real_root, version.file);
  if (stamp.ok()) {
    version.stamp = *stamp;
    return version;
  }
  version.problem = std::move(stamp).status();
  if (!absl::IsNotFound(version.problem)) return version;
  const absl::StatusOr<std::vector<std::string>> others = ListFolder(folder);
  if (!others.ok()) {
    version.problem = others.status();
  } else if (!others->empty()) {
    version.problem = absl::NotFoundError(
        absl::StrCat(folder, ": no ", filename, "; there is ", QuoteName(others->front())));
  }
  return version;
}

}  // namespace

bool ParseVersion(absl::string_view name, int64_t& version) {
  if (name.empty() || name.size() > 19 || name[0] == '0') return false;
  if (!std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return false;
  }
  return absl::SimpleAtoi(name, &version) && version > 0;
}

absl::StatusOr<FileStamp> StampOf(const std::string& real_root, const std::string& path) {
  BITMILL_ASSIGN_OR_RETURN(const std::string real, ResolveInside(real_root, path));
  struct stat info {};
  if (stat(real.c_str(), &info) != 0) return ErrnoToStatus(errno, "read", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  return FileStamp{info.st_dev, info.st_ino, info.st_size, ToNanos(info.st_mtim),
                   ToNanos(info.st_ctim)};
}

absl::StatusOr<ModelOnDisk> ScanModel(const std::string& real_root, const std::string& name,
                                      const std::string& filename) {
  ModelOnDisk model;
  model.folder = absl::StrCat(real_root, "/", name);
  if (const absl::StatusOr<std::string> real = ResolveInside(real_root, model.folder); !real.ok()) {
    if (absl::IsNotFound(real.status())) {
      return absl::NotFoundError(
          absl::StrCat("model ", QuoteName(name), " is not in the repository"));
    }
    model.problem = real.status();
    return model;
  }
  if (!IsFolder(model.folder)) {
    return absl::NotFoundError(
        absl::StrCat("model ", QuoteName(name), " is not a folder of the repository"));
  }
  const absl::StatusOr<std::vector<std::string>> entries = ListFolder(model.folder);
  if (!entries.ok()) {
    model.problem = entries.status();
    return model;
  }
  for (const std::string& entry : *entries) {
    const std::string path = absl::StrCat(model.folder, "/", entry);
    if (entry == kConfigName) {
      absl::StatusOr<FileStamp> stamp = StampOf(real_root, path);
      if (!stamp.ok()) {
        model.problem = std::move(stamp).status();
        return model;
      }
      model.config = *stamp;
      continue;
    }
    if (entry == kWarmupFolder || !IsFolder(path)) continue;
    int64_t version = 0;
    if (ParseVersion(entry, version)) {
      model.versions[version] =
          ScanVersion(real_root, path, filename.empty() ? kDefaultFile : filename);
    } else if (model.skipped.size() < kMaxSkipped) {
      model.skipped.push_back(absl::StrCat(
          "folder ", QuoteName(entry), " is no version: a positive number without leading zeros"));
    }
  }
  return model;
}

absl::StatusOr<std::vector<std::string>> ListModels(const std::string& real_root) {
  BITMILL_ASSIGN_OR_RETURN(std::vector<std::string> names, ListFolder(real_root));
  std::erase_if(names, [&](const std::string& name) {
    if (!CheckModelName(name).ok()) return true;
    struct stat info {};
    const std::string path = absl::StrCat(real_root, "/", name);
    // A link that leads nowhere is kept: it is reported, not passed over.
    return stat(path.c_str(), &info) == 0 ? !S_ISDIR(info.st_mode)
                                          : lstat(path.c_str(), &info) != 0;
  });
  return names;
}

std::vector<int64_t> VersionsWanted(const VersionPolicy& policy, const ModelOnDisk& model) {
  std::vector<int64_t> wanted;
  if (policy.kind == VersionPolicy::Kind::kSpecific) {
    wanted = policy.specific;
    std::sort(wanted.begin(), wanted.end());
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  } else {
    for (const auto& [version, entry] : model.versions) wanted.push_back(version);
  }
  std::reverse(wanted.begin(), wanted.end());
  return wanted;
}

}  // namespace bitmill
