// Compiled device programs, kept in files: what a driver takes seconds for is there in milliseconds
// the next time.
//
// A file is used when its key (device, driver, platform, options, source) is the same, its checksum
// is right, and nobody but its owner, who is we, could have written it or another into its folder.
// It is trusted no further: the driver may refuse it, and the program is then compiled from its
// source.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bitmill {

// Names and values of what a compiled program depends on.
using ProgramKey = std::vector<std::pair<std::string, std::string>>;

class ProgramCache {
 public:
  // `folder`: is made when something is saved, for its owner alone; empty: nothing is kept.
  explicit ProgramCache(std::string folder) : folder_(std::move(folder)) {}

  bool enabled() const { return !folder_.empty(); }
  // The program as the driver gave it. NotFound: none, or of another key; PermissionDenied:
  // somebody else could have written it; DataLoss: damaged.
  absl::StatusOr<std::string> Load(const ProgramKey& key) const;
  // Replaces the file in whole; processes that save at once leave one whole file.
  absl::Status Save(const ProgramKey& key, const std::string& binary) const;

  std::string PathOf(const ProgramKey& key) const;

 private:
  std::string folder_;
};

}  // namespace bitmill
