// A repository of models that a test puts in; Load and Unload make them visible and hide them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "server/repository/repository.h"
#include "tests/fakes/fake_executable.h"

namespace bitmill {

// A version around an executable, with a configuration that says the same.
inline std::unique_ptr<ServedModel> MakeServedModel(const std::string& name, int64_t version,
                                                    std::unique_ptr<Executable> executable) {
  auto model = std::make_unique<ServedModel>();
  model->name = name;
  model->version = version;
  model->settings.name = name;
  model->settings.platform = "bitmill_onnx";
  const Signature& signature = executable->signature();
  model->settings.max_batch_size = signature.batchable ? executable->max_rows() : 0;
  model->settings.batch.max_rows = executable->max_rows();
  model->config_text =
      absl::StrCat("name: '", name,
                   "' platform: 'bitmill_onnx' max_batch_size: ", model->settings.max_batch_size);
  const auto describe = [&model](const char* field, const std::vector<TensorSpec>& specs) {
    for (const TensorSpec& spec : specs) {
      absl::StrAppend(&model->config_text, " ", field, " { name: '", spec.name,
                      "' data_type: TYPE_", DTypeName(spec.dtype));
      for (const int64_t size : spec.row_shape) {
        absl::StrAppend(&model->config_text, " dims: ", size);
      }
      absl::StrAppend(&model->config_text, " }");
    }
  };
  describe("input", signature.inputs);
  describe("output", signature.outputs);
  model->executable = std::move(executable);
  return model;
}

class FakeRepository final : public ModelRepository {
 public:
  explicit FakeRepository(RuntimeFactory factory) : factory_(std::move(factory)) {}

  // The model is ready at once. `make` is called again for each Load.
  absl::Status Add(const std::string& name, std::function<std::unique_ptr<ServedModel>()> make) {
    {
      MutexLock lock(&mutex_);
      makers_[name] = std::move(make);
    }
    return Load(name);
  }

  absl::StatusOr<ModelHandle> Find(absl::string_view name, int64_t version) const override {
    MutexLock lock(&mutex_);
    const auto found = ready_.find(std::string(name));
    if (found == ready_.end()) return absl::NotFoundError(absl::StrCat("no model '", name, "'"));
    if (version != 0 && found->second->version != version) {
      return absl::NotFoundError(absl::StrCat("model '", name, "' has no version ", version));
    }
    return found->second;
  }
  absl::StatusOr<std::vector<ModelHandle>> Versions(absl::string_view name) const override {
    const absl::StatusOr<ModelHandle> model = Find(name, 0);
    if (!model.ok()) return model.status();
    return std::vector<ModelHandle>{*model};
  }
  std::vector<ModelHandle> AllReady() const override {
    MutexLock lock(&mutex_);
    std::vector<ModelHandle> models;
    for (const auto& [name, model] : ready_) models.push_back(model);
    return models;
  }
  std::vector<IndexEntry> Index() const override {
    MutexLock lock(&mutex_);
    std::vector<IndexEntry> entries;
    for (const auto& [name, make] : makers_) {
      const auto found = ready_.find(name);
      if (found == ready_.end()) {
        entries.push_back({name, 0, ModelState::kUnavailable, "unloaded"});
      } else {
        entries.push_back({name, found->second->version, ModelState::kReady, ""});
      }
    }
    return entries;
  }

  absl::StatusOr<AnsweringVersions> Answering(absl::string_view name) const override {
    const absl::StatusOr<ModelHandle> model = Find(name, 0);
    if (!model.ok()) return model.status();
    return AnsweringVersions{(*model)->version, 0};
  }
  absl::Status Promote(absl::string_view name, int64_t version) override {
    return Find(name, version).status();
  }

  absl::Status Load(absl::string_view name) override {
    std::function<std::unique_ptr<ServedModel>()> make;
    {
      MutexLock lock(&mutex_);
      const auto found = makers_.find(std::string(name));
      if (found == makers_.end()) {
        return absl::NotFoundError(absl::StrCat("no model '", name, "' in the repository"));
      }
      make = found->second;
    }
    std::unique_ptr<ServedModel> model = make();
    absl::StatusOr<std::unique_ptr<ModelRuntime>> runtime = factory_(*model);
    if (!runtime.ok()) return runtime.status();
    model->runtime = std::move(*runtime);
    ModelHandle old;
    {
      MutexLock lock(&mutex_);
      old = std::exchange(ready_[std::string(name)], std::move(model));
    }
    if (old != nullptr) old->runtime->Drain();
    Changed();
    return absl::OkStatus();
  }

  absl::Status Unload(absl::string_view name) override {
    ModelHandle old;
    {
      MutexLock lock(&mutex_);
      const auto found = ready_.find(std::string(name));
      if (found == ready_.end()) return absl::OkStatus();
      old = std::move(found->second);
      ready_.erase(found);
    }
    Changed();
    old->runtime->Drain();
    return absl::OkStatus();
  }

  bool Started() const override { return true; }
  bool AllStartedReady() const override { return true; }
  void SetChangeListener(std::function<void()> on_change) override {
    MutexLock lock(&mutex_);
    on_change_ = std::move(on_change);
  }

 private:
  void Changed() {
    std::function<void()> on_change;
    {
      MutexLock lock(&mutex_);
      on_change = on_change_;
    }
    if (on_change) on_change();
  }

  const RuntimeFactory factory_;
  mutable Mutex mutex_;
  std::map<std::string, std::function<std::unique_ptr<ServedModel>()>> makers_
      ABSL_GUARDED_BY(mutex_);
  std::map<std::string, ModelHandle> ready_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_change_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
