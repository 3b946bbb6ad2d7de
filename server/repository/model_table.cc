#include "server/repository/model_table.h"

#include <algorithm>
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
    case ModelState::kEvicted:
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
  for (const auto& [version, about] : entry.evicted) {
    absl::StrAppend(&list, list.empty() ? "" : ", ", version);
  }
  return list;
}

absl::Status NotServed(absl::string_view name, int64_t version, const ModelTable::Entry& entry) {
  return absl::NotFoundError(absl::StrCat("model ", QuoteName(name), " version ", version,
                                          " is not served; ready: ", ReadyVersions(entry)));
}

// Of a model that has evicted versions.
absl::Status IsEvicted(absl::string_view name, int64_t version, const ModelTable::Entry& entry) {
  if (version != 0 && !entry.evicted.contains(version)) return NotServed(name, version, entry);
  return absl::UnavailableError(
      absl::StrCat("model ", QuoteName(name), " is evicted: it is loaded when a request comes"));
}

bool IsIdle(const ModelTable::Entry& entry) {
  for (const auto& [version, loaded] : entry.ready) {
    if (loaded.handle.use_count() > 1) return false;
  }
  return true;
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
  if (!entry.evicted.empty()) return IsEvicted(name, version, entry);
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
  return NotServed(name, version, entry);
}

absl::StatusOr<std::vector<ModelHandle>> ModelTable::Versions(absl::string_view name) const {
  ReaderLock lock(&mutex_);
  const auto found = entries_.find(Key(name));
  if (found == entries_.end()) return UnknownModel(name);
  if (!found->second.evicted.empty()) return IsEvicted(name, 0, found->second);
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
  if (!entry.evicted.empty()) return IsEvicted(name, 0, entry);
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

absl::StatusOr<ModelDescriptionHandle> ModelTable::Describe(absl::string_view name,
                                                            int64_t version) const {
  ReaderLock lock(&mutex_);
  const auto found = entries_.find(Key(name));
  if (found == entries_.end()) return UnknownModel(name);
  const Entry& entry = found->second;
  if (entry.ready.empty() && entry.evicted.empty()) return NotReady(name, entry);
  if (version == 0) version = entry.answering;
  if (version == 0) {
    return entry.ready.empty() ? entry.evicted.rbegin()->second
                               : entry.ready.rbegin()->second.about;
  }
  if (const auto ready = entry.ready.find(version); ready != entry.ready.end()) {
    return ready->second.about;
  }
  const auto evicted = entry.evicted.find(version);
  if (evicted == entry.evicted.end()) return NotServed(name, version, entry);
  return evicted->second;
}

absl::StatusOr<std::vector<ModelDescriptionHandle>> ModelTable::DescribeAll(
    absl::string_view name) const {
  ReaderLock lock(&mutex_);
  if (!name.empty()) {
    const auto found = entries_.find(Key(name));
    if (found == entries_.end()) return UnknownModel(name);
    const Entry& entry = found->second;
    if (entry.ready.empty() && entry.evicted.empty()) return NotReady(name, entry);
  }
  std::vector<ModelDescriptionHandle> all;
  for (const auto& [model, entry] : entries_) {
    if (!name.empty() && Key(name) != model) continue;
    for (const auto& [version, loaded] : entry.ready) all.push_back(loaded.about);
    for (const auto& [version, about] : entry.evicted) all.push_back(about);
  }
  return all;
}

std::vector<ModelTable::Resident> ModelTable::Residents() const {
  ReaderLock lock(&mutex_);
  std::vector<Resident> residents;
  for (const auto& [name, entry] : entries_) {
    if (entry.ready.empty()) continue;
    Resident resident{.name = name, .evictable = true, .idle = IsIdle(entry)};
    for (const auto& [version, loaded] : entry.ready) {
      resident.evictable &= loaded.handle->settings.evict;
      resident.last_use_ns = std::max(resident.last_use_ns,
                                      loaded.handle->last_use_ns.load(std::memory_order_relaxed));
      resident.loaded_ns = std::max(resident.loaded_ns, loaded.loaded_ns);
      resident.load_ns += loaded.load_ns;
    }
    residents.push_back(std::move(resident));
  }
  return residents;
}

std::map<int64_t, LoadedVersion> ModelTable::Evict(const std::string& name, bool only_idle) {
  WriterLock lock(&mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return {};
  Entry& entry = found->second;
  // Handles are copied under the lock alone: nobody can have one a moment later.
  if (only_idle && !IsIdle(entry)) return {};
  for (const auto& [version, loaded] : entry.ready) entry.evicted[version] = loaded.about;
  return std::exchange(entry.ready, {});
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
