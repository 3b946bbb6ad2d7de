#include "server/repository/load_version.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/repository/calibration_file.h"
#include "server/repository/complete_config.h"
#include "server/repository/model_path.h"
#include "server/repository/warmup.h"

namespace bitmill {
namespace {

// The same status with the file in front, unless the message names it already.
absl::Status InFile(const absl::Status& status, const std::string& file) {
  if (absl::StrContains(status.message(), file)) return status;
  return absl::Status(status.code(), absl::StrCat(file, ": ", status.message()));
}

absl::StatusOr<std::string> ReadModelFile(const VersionToLoad& what, int64_t max_bytes) {
  BITMILL_ASSIGN_OR_RETURN(const std::string real,
                           ResolveInside(what.real_root, what.on_disk.file));
  BITMILL_ASSIGN_OR_RETURN(std::string bytes, ReadFile(real, max_bytes));
  BITMILL_ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(what.real_root, what.on_disk.file));
  if (stamp != what.on_disk.stamp) {
    return absl::UnavailableError(
        absl::StrCat(what.on_disk.file, ": changed while it was read; load again"));
  }
  return bytes;
}

}  // namespace

absl::StatusOr<GivenConfig> ReadConfig(const std::string& real_root, const ModelOnDisk& model) {
  if (model.config == FileStamp{}) return GivenConfig{};
  const std::string path = absl::StrCat(model.folder, "/config.pbtxt");
  BITMILL_ASSIGN_OR_RETURN(const std::string real, ResolveInside(real_root, path));
  BITMILL_ASSIGN_OR_RETURN(const std::string text, ReadFile(real, kMaxConfigBytes));
  return ParseModelConfig(text, path);
}

absl::StatusOr<std::unique_ptr<ServedModel>> LoadVersion(const VersionToLoad& what,
                                                         const GivenConfig& config,
                                                         const RepositoryOptions& options,
                                                         const LoaderParts& parts) {
  const std::string& file = what.on_disk.file;
  BITMILL_RETURN_IF_ERROR(what.on_disk.problem);
  BITMILL_ASSIGN_OR_RETURN(std::string bytes, ReadModelFile(what, options.max_model_bytes));
  absl::StatusOr<Graph> graph = parts.reader(bytes, file);
  if (!graph.ok()) return InFile(graph.status(), file);
  std::string().swap(bytes);

  auto model = std::make_unique<ServedModel>();
  model->name = what.name;
  model->version = what.version;
  BITMILL_ASSIGN_OR_RETURN(
      model->settings, MakeSettings(config, what.name, graph->batchable, options.default_max_rows));
  CompileOptions compile;
  compile.max_rows = model->settings.batch.max_rows;
  compile.isa = options.isa;
  compile.threads = model->settings.threads > 0 ? model->settings.threads : options.threads;
  BITMILL_ASSIGN_OR_RETURN(compile.calibration,
                           ReadCalibrationFile(config, *graph, what.real_root, what.model_folder,
                                               file, options.max_model_bytes));
  if (compile.calibration != nullptr) compile.precision = Precision::kFast;
  absl::StatusOr<std::unique_ptr<Executable>> executable = parts.backend.Compile(*graph, compile);
  compile.calibration = nullptr;
  if (!executable.ok()) return InFile(executable.status(), file);
  model->executable = *std::move(executable);
  BITMILL_ASSIGN_OR_RETURN(model->config_text,
                           CompleteConfig(config, model->settings, model->executable->signature()));
  BITMILL_RETURN_IF_ERROR(RunWarmup(config, *model->executable, what.real_root, what.model_folder));
  absl::StatusOr<std::unique_ptr<ModelRuntime>> runtime = parts.runtime_factory(*model);
  if (!runtime.ok()) return InFile(runtime.status(), file);
  model->runtime = *std::move(runtime);
  return model;
}

}  // namespace bitmill
