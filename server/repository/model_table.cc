#include "server/repository/model_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/repository/model_path.h"

namespace bitmill {
namespace {

// Why nothing of this entry is served now. A failed load is told apart from a model that nobody
// asked for: the first may be mended, the second needs a call.
absl::Status NotReady(absl::string_view name, const ModelTable::Entry& entry) {
  switch (entry.state) {
    case ModelState::kLoading:
      return absl::UnavailableError(absl::StrCat("model ", QuoteName(name), " is loading"));
    case ModelState::kUnloading:
      return absl::UnavailableError(absl::StrCat("model ", QuoteName(name), " is being unloaded"));
    case ModelState::kReady:
    case ModelState::kUnavailable:
      break;
  }
  return absl::NotFoundError(absl::StrCat("model ", QuoteName(name), " is not ready: ",
                                          entry.reason.empty() ? "not loaded" : entry.reason));
}

std::string ReadyVersions(const ModelTable::Entry& entry) {
  std::string list;
  for (const auto& [version, loaded] : entry.ready) {
    absl::StrAppend(&list, list.empty() ? "" : ", ", version);
  }
  return list;
}

absl::Status UnknownModel(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("model ", QuoteName(name), " is not known"));
}

std::string_view Key(absl::string_view name) { return {name.data(), name.size()}; }

}  // namespace

absl::StatusOr<ModelHandle> ModelTable::Find(absl::string_view name, int64_t version) const {
  ReaderLock lock(&mutex_);
  const auto found = entries_.find(Key(name));
  if (found == entries_.end()) return UnknownModel(name);
  const Entry& entry = found->second;
  if (entry.ready.empty()) return NotReady(name, entry);
  if (version == 0 && entry.answering == 0) return entry.ready.rbegin()->second.handle;
  if (version == 0) version = entry.answering;
  const auto loaded = entry.ready.find(version);
  if (loaded != entry.ready.end()) return loaded->second.handle;
  const auto known = entry.versions.find(version);
  if (known != entry.versions.end() && known->second.state == ModelState::kLoading) {
    return absl::UnavailableError(
        absl::StrCat("model ", QuoteName(name), " version ", version, " is loading"));
  }
  return absl::NotFoundError(absl::StrCat("model ", QuoteName(name), " version ", version,
                                          " is not served; ready: ", ReadyVersions(entry)));
}

absl::StatusOr<std::vector<ModelHandle>> ModelTable::Versions(absl::string_view name) const {
  ReaderLock lock(&mutex_);
  const auto found = entries_.find(Key(name));
  if (found == entries_.end()) return UnknownModel(name);
  if (found->second.ready.empty()) return NotReady(name, found->second);
  std::vector<ModelHandle> handles;
  for (const auto& [version, loaded] : found->second.ready) handles.push_back(loaded.handle);
  return handles;
}

absl::StatusOr<AnsweringVersions> ModelTable::Answering(absl::string_view name) const {
  ReaderLock lock(&mutex_);
  const auto found = entries_.find(Key(name));
  if (found == entries_.end()) return UnknownModel(name);
  const Entry& entry = found->second;
  if (entry.ready.empty()) return NotReady(name, entry);
  const int64_t newest = entry.ready.rbegin()->first;
  if (entry.answering == 0) return AnsweringVersions{newest, 0};
  return AnsweringVersions{entry.answering, newest > entry.answering ? newest : 0};
}

std::vector<ModelHandle> ModelTable::AllReady() const {
  ReaderLock lock(&mutex_);
  std::vector<ModelHandle> handles;
  for (const auto& [name, entry] : entries_) {
    for (const auto& [version, loaded] : entry.ready) handles.push_back(loaded.handle);
  }
  return handles;
}

ModelTable::Entry ModelTable::Get(const std::string& name) const {
  ReaderLock lock(&mutex_);
  const auto found = entries_.find(name);
  return found == entries_.end() ? Entry{} : found->second;
}

std::vector<std::string> ModelTable::Names() const {
  ReaderLock lock(&mutex_);
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

ModelTable::Entry ModelTable::Put(const std::string& name, Entry entry) {
  WriterLock lock(&mutex_);
  return std::exchange(entries_[name], std::move(entry));
}

void ModelTable::SetState(const std::string& name, ModelState state, const std::string& reason) {
  WriterLock lock(&mutex_);
  Entry& entry = entries_[name];
  entry.state = state;
  entry.reason = reason;
}

ModelTable::Entry ModelTable::Erase(const std::string& name) {
  WriterLock lock(&mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return {};
  Entry entry = std::move(found->second);
  entries_.erase(found);
  return entry;
}

std::map<std::string, ModelTable::Entry> ModelTable::Clear() {
  WriterLock lock(&mutex_);
  std::map<std::string, Entry> all;
  for (auto& [name, entry] : entries_) all.emplace(name, std::move(entry));
  entries_.clear();
  return all;
}

}  // namespace bitmill
