// Several backends as one: a model names the one that it wants (CompileOptions::backend).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "base/mutex.h"

namespace bitmill {

class BackendSet final : public Backend {
 public:
  using Make = std::function<absl::StatusOr<std::unique_ptr<Backend>>()>;

  // `first` serves models that name no backend until SetDefault().
  explicit BackendSet(std::unique_ptr<Backend> first);

  // Another backend, made when a model wants it first, once, whatever comes of it; `make` may find
  // backends that were added before. Before anything is prepared.
  void Add(std::string name, Make make);
  // Makes the backend; NotFound for a name that is not in the set, otherwise why it cannot be made.
  absl::Status SetDefault(const std::string& name);

  std::string name() const override { return default_; }
  // InvalidArgument for a backend that is not in the set; FailedPrecondition when it cannot be
  // made.
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override;
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override;

  const Backend& first() const { return *first_; }
  // The backend of that name, the default for an empty one; errors as of Prepare(). Thread-safe.
  absl::StatusOr<const Backend*> Find(const std::string& name) const;

 private:
  struct Entry {
    Make make;
    Mutex mutex;  // held while it is made, so that others wait for that
    bool made ABSL_GUARDED_BY(mutex) = false;
    std::unique_ptr<Backend> backend ABSL_GUARDED_BY(mutex);
    absl::Status status ABSL_GUARDED_BY(mutex);
  };

  const std::unique_ptr<Backend> first_;
  std::string default_;
  mutable std::map<std::string, Entry> others_;  // the same ones once anything is prepared
};

}  // namespace bitmill
