#include "backends/backend_set.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {

BackendSet::BackendSet(std::unique_ptr<Backend> first)
    : first_(std::move(first)), default_(first_->name()) {}

void BackendSet::Add(std::string name, Make make) {
  others_[std::move(name)].make = std::move(make);
}

absl::Status BackendSet::SetDefault(const std::string& name) {
  BITMILL_RETURN_IF_ERROR(Find(name).status());
  default_ = name;
  return absl::OkStatus();
}

absl::StatusOr<const Backend*> BackendSet::Find(const std::string& name) const {
  const std::string& wanted = name.empty() ? default_ : name;
  if (wanted == first_->name()) return first_.get();
  const auto found = others_.find(wanted);
  if (found == others_.end()) {
    std::string known = first_->name();
    for (const auto& [other, entry] : others_) absl::StrAppend(&known, ", ", other);
    return absl::InvalidArgumentError(
        absl::StrCat("backend '", wanted, "', this program has ", known));
  }
  Entry& entry = found->second;
  MutexLock lock(&entry.mutex);
  if (!entry.made) {
    entry.made = true;
    absl::StatusOr<std::unique_ptr<Backend>> backend = entry.make();
    if (backend.ok()) {
      entry.backend = *std::move(backend);
    } else {
      entry.status = absl::FailedPreconditionError(
          absl::StrCat("backend ", wanted, ": ", backend.status().message()));
    }
  }
  if (!entry.status.ok()) return entry.status;
  return entry.backend.get();
}

absl::StatusOr<std::unique_ptr<PreparedModel>> BackendSet::Prepare(
    const Graph& graph, const CompileOptions& options) const {
  BITMILL_ASSIGN_OR_RETURN(const Backend* const backend, Find(options.backend));
  return backend->Prepare(graph, options);
}

absl::StatusOr<std::unique_ptr<PreparedModel>> BackendSet::OpenPlan(
    const std::string& path, uint32_t model_owner, const CompileOptions& options) const {
  BITMILL_ASSIGN_OR_RETURN(const Backend* const backend, Find(options.backend));
  return backend->OpenPlan(path, model_owner, options);
}

}  // namespace bitmill
