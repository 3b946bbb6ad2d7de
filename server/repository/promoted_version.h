// Which version of a model answers while the newest is held back, and the file that remembers it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace bitmill {

// `ready`: ascending, not empty. `kept`: that answered before, or was promoted; 0: none. The kept
// one while it is ready; otherwise the newest but one, so that the newest is held back; a single
// version answers.
int64_t ChooseAnswering(int64_t kept, const std::vector<int64_t>& ready);

// <model>/promoted_version holds a version's number. 0 when there is no such file; one that cannot
// be read as a number is reported in the log and counts as none.
int64_t ReadPromotedVersion(const std::string& real_root, const std::string& model_folder);
absl::Status WritePromotedVersion(const std::string& real_root, const std::string& model_folder,
                                  int64_t version);

}  // namespace bitmill
