#include "server/repository/repository.h"

namespace bitmill {

ModelDescriptionHandle DescribeModel(const ServedModel& model) {
  ModelDescription about;
  about.name = model.name;
  about.version = model.version;
  about.platform = model.settings.platform;
  about.config_text = model.config_text;
  about.signature = model.executable->signature();
  about.weight_bytes = model.executable->weight_bytes();
  return std::make_shared<const ModelDescription>(std::move(about));
}

absl::StatusOr<std::vector<ModelDescriptionHandle>> ModelRepository::DescribeAll(
    absl::string_view name) const {
  std::vector<ModelHandle> models;
  if (name.empty()) {
    models = AllReady();
  } else {
    absl::StatusOr<std::vector<ModelHandle>> versions = Versions(name);
    if (!versions.ok()) return versions.status();
    models = *std::move(versions);
  }
  std::vector<ModelDescriptionHandle> all;
  all.reserve(models.size());
  for (const ModelHandle& model : models) all.push_back(DescribeModel(*model));
  return all;
}

}  // namespace bitmill
