#include "server/repository/load_version.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "backends/plan_cache.h"
#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "model/passes/passes.h"
#include "model/passes/sign_margin.h"
#include "server/repository/calibration_file.h"
#include "server/repository/complete_config.h"
#include "server/repository/config_rules.h"
#include "server/repository/memory_budget.h"
#include "server/repository/model_path.h"
#include "server/repository/warmup.h"

namespace bitmill {
namespace {

constexpr char kReferenceFile[] = "reference.npz";

// The same status with the file in front, unless the message names it already.
absl::Status InFile(const absl::Status& status, const std::string& file) {
  if (absl::StrContains(status.message(), file)) return status;
  return absl::Status(status.code(), absl::StrCat(file, ": ", status.message()));
}

absl::Status CheckUnchanged(const VersionToLoad& what) {
  BITMILL_ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(what.real_root, what.on_disk.file));
  if (stamp == what.on_disk.stamp) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat(what.on_disk.file, ": changed while it was read; load again"));
}

// What the parameter says, or the CPU for a model all of whose instances are to be there, or CUDA
// for one whose instances are to be on a GPU; empty: it is left to the server.
std::string BackendOf(const GivenConfig& config) {
  std::string named = ParameterOf(config, "backend");
  if (!named.empty()) return named;
  if (WantsGpu(config)) return "cuda";
  const auto& groups = config.proto.instance_group();
  const bool all_on_cpu = !groups.empty() && std::ranges::all_of(groups, [](const auto& group) {
    return group.kind() == inference::ModelInstanceGroup::KIND_CPU;
  });
  return all_on_cpu ? "cpu" : "";
}

absl::StatusOr<std::string> ReadModelFile(const VersionToLoad& what, int64_t max_bytes) {
  BITMILL_ASSIGN_OR_RETURN(const std::string real,
                           ResolveInside(what.real_root, what.on_disk.file));
  BITMILL_ASSIGN_OR_RETURN(std::string bytes, ReadFile(real, max_bytes));
  BITMILL_RETURN_IF_ERROR(CheckUnchanged(what));
  return bytes;
}

// `settings` is filled in on the way, as soon as the model is known well enough.
absl::StatusOr<CompiledModel> CompileVersion(const VersionToLoad& what, const GivenConfig& config,
                                             const RepositoryOptions& options,
                                             const LoaderParts& parts, ModelSettings& settings) {
  const std::string& file = what.on_disk.file;
  const CalibrationPlace calibration{what.real_root, what.model_folder, file,
                                     options.max_model_bytes};
  PlanCacheOptions cache = options.plan_cache;
  if (ParameterOf(config, "plan_cache") == "off") cache.enabled = false;
  if (what.on_disk.stamp.bytes > options.max_model_bytes) cache.enabled = false;  // is refused

  CompileRequest request;
  BITMILL_ASSIGN_OR_RETURN(request.file, ResolveInside(what.real_root, file));
  const std::string folder = std::filesystem::path(file).parent_path().string();
  BITMILL_ASSIGN_OR_RETURN(request.plan_folder, ResolveInside(what.real_root, folder));
  request.options.isa = options.isa;
  request.options.working_bytes = BudgetBytes(options.memory.host, options.memory.host_bytes);
  request.options.backend = BackendOf(config);
  request.options.parallel = ParameterOf(config, "parallel");
  for (const auto& group : config.proto.instance_group()) {
    request.options.gpus.insert(request.options.gpus.end(), group.gpus().begin(),
                                group.gpus().end());
  }
  request.options.tune_seconds = options.tune_seconds;
  if (const std::string tune = ParameterOf(config, "tune"); !tune.empty()) {
    BITMILL_CHECK(absl::SimpleAtod(tune, &request.options.tune_seconds));  // a rule
  }
  if (ParameterOf(config, "precision") == "fast") {
    request.options.precision = Precision::kFast;
    BITMILL_ASSIGN_OR_RETURN(request.options.calibration_digest,
                             DigestCalibrationFile(config, calibration));
  } else if (ParameterOf(config, "precision") == "bf16") {
    request.options.precision = Precision::kBf16;
  }
  request.read = [&](CompileOptions& compile) -> absl::StatusOr<CompileRequest::Model> {
    BITMILL_ASSIGN_OR_RETURN(std::string bytes, ReadModelFile(what, options.max_model_bytes));
    CompileRequest::Model read;
    if (cache.enabled) read.hash = HashBytes(bytes.data(), bytes.size());
    BITMILL_ASSIGN_OR_RETURN(read.graph, parts.reader(bytes, file));
    std::string().swap(bytes);
    BITMILL_ASSIGN_OR_RETURN(compile.calibration,
                             ReadCalibrationFile(config, read.graph, calibration));
    return read;
  };
  absl::Status settings_status;
  request.limits = [&](const Signature& signature) -> absl::StatusOr<ExecutionLimits> {
    absl::StatusOr<ModelSettings> made =
        MakeSettings(config, what.name, signature.batchable, options.default_max_rows);
    settings_status = made.status();
    if (!made.ok()) return made.status();
    settings = *std::move(made);
    return ExecutionLimits{settings.batch.max_rows,
                           settings.threads > 0 ? settings.threads : options.threads};
  };
  absl::StatusOr<CompiledModel> compiled = CompileThroughCache(parts.backend, cache, request);
  BITMILL_RETURN_IF_ERROR(settings_status);  // names config.pbtxt
  if (!compiled.ok()) return InFile(compiled.status(), file);
  if (compiled->from_cache) BITMILL_RETURN_IF_ERROR(CheckUnchanged(what));
  return compiled;
}

std::vector<TapPort> PortsOf(const std::vector<TensorSpec>& specs) {
  std::vector<TapPort> ports;
  ports.reserve(specs.size());
  for (const TensorSpec& spec : specs) {
    ports.push_back({spec.name, spec.dtype, spec.row_shape, spec.row_bytes});
  }
  return ports;
}

// The reference of the model's lowered graph, one row at a time.
class GraphMargin final : public MarginSource {
 public:
  explicit GraphMargin(Graph lowered) : lowered_(std::move(lowered)), probe_(lowered_) {}
  bool empty() const { return probe_.empty(); }

  absl::StatusOr<RowMargin> Measure(absl::Span<const std::byte* const> inputs) const override {
    std::vector<TensorView> views;
    for (size_t i = 0; i < lowered_.inputs.size(); ++i) {
      const Value& value = lowered_.value(lowered_.inputs[i].value);
      views.push_back({value.dtype, value.shape, inputs[i]});
    }
    BITMILL_ASSIGN_OR_RETURN(const MarginCounts counts, probe_.Count(views));
    return RowMargin{counts.thresholds, counts.near};
  }

 private:
  const Graph lowered_;
  const SignMarginProbe probe_;
};

// Reads the model once more: what is served has its weights packed, perhaps from a plan file.
absl::StatusOr<std::shared_ptr<const MarginSource>> MakeMargin(const VersionToLoad& what,
                                                               const RepositoryOptions& options,
                                                               const LoaderParts& parts) {
  BITMILL_ASSIGN_OR_RETURN(const std::string bytes, ReadModelFile(what, options.max_model_bytes));
  BITMILL_ASSIGN_OR_RETURN(const Graph graph, parts.reader(bytes, what.on_disk.file));
  BITMILL_ASSIGN_OR_RETURN(Graph lowered, Lower(graph));
  auto margin = std::make_shared<const GraphMargin>(std::move(lowered));
  if (margin->empty()) return nullptr;
  return margin;
}

// Null unless the model asks for it and somebody watches.
absl::StatusOr<std::shared_ptr<AnswerTap>> MakeTap(const ServedModel& model,
                                                   const VersionToLoad& what,
                                                   const RepositoryOptions& options,
                                                   const LoaderParts& parts) {
  if (parts.taps == nullptr || !model.settings.watch.on) return nullptr;
  const Signature& signature = model.executable->signature();
  TappedModel tapped;
  tapped.name = model.name;
  tapped.version = model.version;
  tapped.inputs = PortsOf(signature.inputs);
  tapped.outputs = PortsOf(signature.outputs);
  tapped.settings = model.settings.watch;
  const std::string reference = absl::StrCat(
      std::filesystem::path(what.on_disk.file).parent_path().string(), "/", kReferenceFile);
  absl::StatusOr<std::string> real = ResolveInside(what.real_root, reference);
  if (real.ok()) {
    tapped.reference_file = *std::move(real);
  } else if (!absl::IsNotFound(real.status())) {
    return real.status();
  }
  if (tapped.settings.margin) {
    BITMILL_ASSIGN_OR_RETURN(tapped.margin, MakeMargin(what, options, parts));
  }
  return parts.taps->Watch(tapped);
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
  BITMILL_RETURN_IF_ERROR(what.on_disk.problem);
  auto model = std::make_unique<ServedModel>();
  model->name = what.name;
  model->version = what.version;
  BITMILL_ASSIGN_OR_RETURN(CompiledModel compiled,
                           CompileVersion(what, config, options, parts, model->settings));
  model->executable = std::move(compiled.executable);
  model->plan_origin = std::move(compiled.origin);
  model->plan_from_file = compiled.from_cache;
  model->memory = model->executable->memory(parts.contexts ? parts.contexts(model->settings) : 1);
  if (parts.claim) {
    BITMILL_ASSIGN_OR_RETURN(model->memory_hold, parts.claim(*model));
  }
  BITMILL_ASSIGN_OR_RETURN(model->config_text,
                           CompleteConfig(config, model->settings, model->executable->signature()));
  BITMILL_RETURN_IF_ERROR(RunWarmup(config, *model->executable, what.real_root, what.model_folder));
  BITMILL_ASSIGN_OR_RETURN(model->tap, MakeTap(*model, what, options, parts));
  absl::StatusOr<std::unique_ptr<ModelRuntime>> runtime = parts.runtime_factory(*model);
  if (!runtime.ok()) return InFile(runtime.status(), what.on_disk.file);
  model->runtime = *std::move(runtime);
  return model;
}

void LogLoaded(const ServedModel& model, const std::string& isa, int64_t load_ns) {
  LogInfo(absl::StrCat("model loaded name=", model.name, " version=", model.version,
                       " weight_bytes=", model.executable->weight_bytes(), " arena_bytes=",
                       model.executable->arena_bytes(), " max_rows=", model.settings.batch.max_rows,
                       " backend=", model.executable->backend_name(), " isa=", isa, " plan=\"",
                       model.plan_origin, "\" ms=", load_ns / 1'000'000));
}

}  // namespace bitmill
