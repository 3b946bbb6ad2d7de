#include "server/repository/index_lines.h"

#include <map>
#include <utility>

namespace bitmill {
namespace {

std::string Text(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

std::vector<IndexEntry> IndexLines(const std::string& name, const ModelTable::Entry& entry,
                                   const absl::StatusOr<ModelOnDisk>& on_disk) {
  std::map<int64_t, IndexEntry> lines;
  if (on_disk.ok()) {
    for (const auto& [version, file] : on_disk->versions) {
      lines[version] = {name, version,
                        entry.state == ModelState::kReady ? ModelState::kUnavailable : entry.state,
                        !entry.reason.empty() ? entry.reason
                        : file.problem.ok()   ? "not loaded"
                                              : Text(file.problem)};
    }
  }
  for (const auto& [version, state] : entry.versions) {
    lines[version] = {name, version, state.state, state.reason};
  }
  for (const auto& [version, loaded] : entry.ready) {
    lines[version] = {name, version, ModelState::kReady, ""};
  }
  for (const auto& [version, about] : entry.evicted) {
    lines[version] = {name, version, ModelState::kEvicted,
                      "evicted to make room; loaded again when a request comes"};
  }
  if (lines.empty()) {
    const std::string reason = !entry.reason.empty()      ? entry.reason
                               : !on_disk.ok()            ? Text(on_disk.status())
                               : !on_disk->problem.ok()   ? Text(on_disk->problem)
                               : on_disk->skipped.empty() ? "no version folder such as 1/"
                                                          : on_disk->skipped.front();
    lines[0] = {name, 0, entry.state, reason};
  }
  std::vector<IndexEntry> index;
  for (auto& [version, line] : lines) {
    if (line.state == ModelState::kLoading || line.state == ModelState::kReady) line.reason.clear();
    index.push_back(std::move(line));
  }
  return index;
}

}  // namespace bitmill
