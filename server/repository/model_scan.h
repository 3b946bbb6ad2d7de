// What lies in a repository: <name>/<version>/model.onnx and <name>/config.pbtxt. Only names and
// attributes are read here, no contents. Hidden entries and plain files are passed over.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "server/repository/model_settings.h"

namespace bitmill {

struct VersionOnDisk {
  std::string file;  // path of the model file, not resolved
  FileStamp stamp;
  absl::Status problem;  // not OK: cannot be served, and why
  bool operator==(const VersionOnDisk&) const = default;
};

struct ModelOnDisk {
  std::string folder;
  FileStamp config;  // of config.pbtxt
  std::map<int64_t, VersionOnDisk> versions;
  std::vector<std::string> skipped;  // entries that are no version, and why
  absl::Status problem;              // not OK: the folder cannot be read
  bool operator==(const ModelOnDisk&) const = default;
};

// A folder name that stands for a version: digits without a leading zero, above 0, below 2^63.
bool ParseVersion(absl::string_view name, int64_t& version);

// `name` has passed CheckModelName; `real_root` comes from ResolveRoot. NotFound when there is no
// such folder. `filename` is that of the model file, "" for model.onnx.
absl::StatusOr<ModelOnDisk> ScanModel(const std::string& real_root, const std::string& name,
                                      const std::string& filename);

// Names of the folders that may hold models, sorted.
absl::StatusOr<std::vector<std::string>> ListModels(const std::string& real_root);

// Attributes of a file inside the root; errors as ResolveInside, InvalidArgument for a folder.
absl::StatusOr<FileStamp> StampOf(const std::string& real_root, const std::string& path);

// The versions that a policy wants, best first: newest to oldest. For `latest` all of them, since
// an older one steps in for one that cannot be served; the caller stops after `policy.latest`.
std::vector<int64_t> VersionsWanted(const VersionPolicy& policy, const ModelOnDisk& model);

}  // namespace bitmill
