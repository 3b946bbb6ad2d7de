#include "server/frontend/engine_shadow.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// Waits for one task.
class Waiter {
 public:
  static void Done(InferTask& task, const absl::Status& status) {
    auto& self = *static_cast<Waiter*>(task.owner);
    MutexLock lock(&self.mutex_);
    self.status_ = status;
    self.done_ = true;
    self.changed_.NotifyAll();
  }
  absl::Status Wait() {
    MutexLock lock(&mutex_);
    while (!done_) changed_.Wait(&mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

bool SameSizes(const std::vector<TensorSpec>& specs,
               const std::vector<std::vector<std::byte>>& tensors, int64_t rows) {
  if (specs.size() != tensors.size()) return false;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (static_cast<int64_t>(tensors[i].size()) != specs[i].row_bytes * rows) return false;
  }
  return true;
}

}  // namespace

int64_t EngineShadow::ShadowOf(const std::string& model, int64_t version) const {
  const absl::StatusOr<AnsweringVersions> versions = repository_.Answering(model);
  return versions.ok() && versions->answering == version ? versions->shadow : 0;
}

ShadowOutcome EngineShadow::Run(const ShadowRequest& request) {
  ShadowOutcome outcome;
  const int64_t version = ShadowOf(request.model, request.version);
  if (version == 0) return outcome;
  const absl::StatusOr<ModelHandle> model = repository_.Find(request.model, version);
  if (!model.ok()) return outcome;  // unloaded meanwhile
  outcome.version = version;
  const Executable& executable = *(*model)->executable;
  const Signature& signature = executable.signature();
  const int64_t max_rows =
      signature.batchable ? std::min((*model)->settings.batch.max_rows, executable.max_rows()) : 1;
  if (request.rows > max_rows || !SameSizes(signature.inputs, request.inputs, request.rows) ||
      !SameSizes(signature.outputs, request.outputs, request.rows)) {
    outcome.status = absl::FailedPreconditionError(
        absl::StrCat("version ", version, " takes or gives other tensors"));
    return outcome;
  }
  std::vector<const std::byte*> inputs;
  std::vector<std::byte*> outputs;
  inputs.reserve(request.inputs.size());
  outputs.reserve(request.outputs.size());
  for (const auto& input : request.inputs) inputs.push_back(input.data());
  for (const auto& output : request.outputs) outcome.outputs.emplace_back(output.size());
  for (auto& output : outcome.outputs) outputs.push_back(output.data());
  Waiter waiter;
  InferTask task;
  task.model = *model;
  task.rows = request.rows;
  task.inputs = inputs;
  task.outputs = absl::MakeSpan(outputs);
  task.received_ns = task.queued_ns = clock_.Now();
  task.owner = &waiter;
  task.done = &Waiter::Done;
  engine_.Submit(task, /*may_run_inline=*/false);
  outcome.status = waiter.Wait();
  outcome.serve_ns = task.computed_ns - task.queued_ns;
  if (outcome.status.ok() && (*model)->tap != nullptr) {
    (*model)->tap->OnAnswer({.request_id = request.request_id,
                             .rows = request.rows,
                             .inputs = inputs,
                             .outputs = outputs,
                             .answered_ns = clock_.Now(),
                             .serve_ns = outcome.serve_ns,
                             .shadow = true});
  }
  return outcome;
}

absl::Status PromoteVersion(ModelRepository& repository, QualityWatch& watch,
                            absl::string_view model, int64_t version) {
  if (version <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("version ", version, ", expected the one to promote"));
  }
  BITMILL_ASSIGN_OR_RETURN(const AnsweringVersions versions, repository.Answering(model));
  BITMILL_RETURN_IF_ERROR(repository.Find(model, version).status());
  if (version > versions.answering) {
    if (versions.shadow == 0) return repository.Promote(model, version);  // says why not
    BITMILL_RETURN_IF_ERROR(watch.CheckPromotion(model, versions.answering, version));
  }
  return repository.Promote(model, version);
}

}  // namespace bitmill
