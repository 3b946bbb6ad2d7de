#include "server/frontend/unary_rpcs.h"

#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "google/protobuf/text_format.h"
#include "proto/inference.pb.h"
#include "server/frontend/bind_request.h"
#include "server/frontend/model_statistics.h"

namespace bitmill {
namespace {

using inference::RepositoryModelLoadRequest;
using inference::RepositoryModelLoadResponse;
using inference::RepositoryModelUnloadRequest;
using inference::RepositoryModelUnloadResponse;

// What this server does beyond the core protocol, by the names that clients look for.
constexpr std::array<const char*, 4> kExtensions = {"model_repository", "schedule_policy",
                                                    "model_configuration", "statistics"};

absl::StatusOr<std::string> RefuseSharedMemory(FrontendContext&, const std::string&) {
  return absl::UnimplementedError("the shared memory extension is not supported");
}
absl::StatusOr<std::string> RefuseTrace(FrontendContext&, const std::string&) {
  return absl::UnimplementedError("the trace extension is not supported");
}
absl::StatusOr<std::string> RefuseLogging(FrontendContext&, const std::string&) {
  return absl::UnimplementedError("the logging extension is not supported");
}

// A model that is evicted is served: it is described like one that is in memory.
absl::StatusOr<ModelDescriptionHandle> FindModel(FrontendContext& context, const std::string& name,
                                                 const std::string& version) {
  if (name.empty()) return absl::InvalidArgumentError("the model's name is empty");
  BITMILL_ASSIGN_OR_RETURN(const int64_t number, ParseVersion(name, version));
  return context.repository.Describe(name, number);
}

absl::Status ServerLive(FrontendContext&, const inference::ServerLiveRequest&,
                        inference::ServerLiveResponse& response) {
  response.set_live(true);
  return absl::OkStatus();
}

absl::Status ServerReady(FrontendContext& context, const inference::ServerReadyRequest&,
                         inference::ServerReadyResponse& response) {
  response.set_ready(!context.draining.load() && context.repository.AllStartedReady());
  return absl::OkStatus();
}

absl::Status ServerMetadata(FrontendContext&, const inference::ServerMetadataRequest&,
                            inference::ServerMetadataResponse& response) {
  response.set_name("bitmill");
  response.set_version(BITMILL_VERSION);
  for (const char* const extension : kExtensions) response.add_extensions(extension);
  return absl::OkStatus();
}

absl::Status ModelReady(FrontendContext& context, const inference::ModelReadyRequest& request,
                        inference::ModelReadyResponse& response) {
  absl::Status status = FindModel(context, request.name(), request.version()).status();
  // Loading, unloading, or not there (yet): clients wait for a model by asking again.
  const bool ready = status.ok();
  if (!ready && !absl::IsUnavailable(status) && !absl::IsNotFound(status)) return status;
  response.set_ready(ready);
  return absl::OkStatus();
}

void DescribeTensors(
    const std::vector<TensorSpec>& specs, bool batchable,
    google::protobuf::RepeatedPtrField<inference::ModelMetadataResponse::TensorMetadata>& tensors) {
  for (const TensorSpec& spec : specs) {
    inference::ModelMetadataResponse::TensorMetadata& tensor = *tensors.Add();
    tensor.set_name(spec.name);
    tensor.set_datatype(std::string(DTypeName(spec.dtype)));
    if (batchable) tensor.add_shape(-1);
    for (const int64_t size : spec.row_shape) tensor.add_shape(size);
  }
}

absl::Status ModelMetadata(FrontendContext& context, const inference::ModelMetadataRequest& request,
                           inference::ModelMetadataResponse& response) {
  BITMILL_ASSIGN_OR_RETURN(const ModelDescriptionHandle model,
                           FindModel(context, request.name(), request.version()));
  response.set_name(model->name);
  response.set_platform(model->platform);
  if (request.version().empty()) {
    BITMILL_ASSIGN_OR_RETURN(const std::vector<ModelDescriptionHandle> versions,
                             context.repository.DescribeAll(request.name()));
    for (const ModelDescriptionHandle& version : versions) {
      response.add_versions(absl::StrCat(version->version));
    }
  } else {
    response.add_versions(request.version());
  }
  const Signature& signature = model->signature;
  DescribeTensors(signature.inputs, signature.batchable, *response.mutable_inputs());
  DescribeTensors(signature.outputs, signature.batchable, *response.mutable_outputs());
  return absl::OkStatus();
}

absl::Status ModelConfig(FrontendContext& context, const inference::ModelConfigRequest& request,
                         inference::ModelConfigResponse& response) {
  BITMILL_ASSIGN_OR_RETURN(const ModelDescriptionHandle model,
                           FindModel(context, request.name(), request.version()));
  if (!google::protobuf::TextFormat::ParseFromString(model->config_text,
                                                     response.mutable_config())) {
    return absl::InternalError(
        absl::StrCat("the configuration of model ", Quoted(model->name), " cannot be read back"));
  }
  return absl::OkStatus();
}

absl::Status ModelStatistics(FrontendContext& context,
                             const inference::ModelStatisticsRequest& request,
                             inference::ModelStatisticsResponse& response) {
  std::vector<ModelDescriptionHandle> models;
  if (request.version().empty() || request.name().empty()) {
    BITMILL_ASSIGN_OR_RETURN(models, context.repository.DescribeAll(request.name()));
  } else {
    BITMILL_ASSIGN_OR_RETURN(models.emplace_back(),
                             FindModel(context, request.name(), request.version()));
  }
  for (const ModelDescriptionHandle& model : models) {
    FillStatistics(*model, context.metrics.ForModel(model->name, model->version).Snapshot(),
                   *response.add_model_stats());
  }
  return absl::OkStatus();
}

absl::Status CheckRepositoryName(const std::string& name) {
  if (name.empty()) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("there is no repository ", Quoted(name), "; the only one has no name"));
}

absl::Status RepositoryIndex(FrontendContext& context,
                             const inference::RepositoryIndexRequest& request,
                             inference::RepositoryIndexResponse& response) {
  BITMILL_RETURN_IF_ERROR(CheckRepositoryName(request.repository_name()));
  // Clients send to what is READY, and may: an evicted model answers. The reason tells it apart.
  constexpr std::array<const char*, 5> kStateNames = {"LOADING", "READY", "UNLOADING",
                                                      "UNAVAILABLE", "READY"};
  for (const IndexEntry& entry : context.repository.Index()) {
    const bool ready = entry.state == ModelState::kReady || entry.state == ModelState::kEvicted;
    if (request.ready() && !ready) continue;
    inference::RepositoryIndexResponse::ModelIndex& model = *response.add_models();
    model.set_name(entry.name);
    if (entry.version > 0) model.set_version(absl::StrCat(entry.version));
    model.set_state(kStateNames[static_cast<size_t>(entry.state)]);
    model.set_reason(entry.reason);
  }
  return absl::OkStatus();
}

// Whatever a client sends, the file system sees one path component or nothing.
absl::Status CheckControl(FrontendContext& context, const std::string& repository,
                          const std::string& name) {
  BITMILL_RETURN_IF_ERROR(CheckRepositoryName(repository));
  if (name.empty()) return absl::InvalidArgumentError("model_name is empty");
  if (name == "." || name == ".." || name.find_first_of(std::string("/\\\0", 3)) != name.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("model_name ", Quoted(name), " is not one path component"));
  }
  if (!context.options.allow_model_control) {
    return absl::PermissionDeniedError("loading and unloading by clients is switched off");
  }
  return absl::OkStatus();
}

absl::Status RepositoryModelLoad(FrontendContext& context,
                                 const RepositoryModelLoadRequest& request,
                                 RepositoryModelLoadResponse&) {
  BITMILL_RETURN_IF_ERROR(CheckControl(context, request.repository_name(), request.model_name()));
  for (const auto& [name, value] : request.parameters()) {
    if (name == "config" || name.starts_with("file:")) {
      return absl::UnimplementedError(absl::StrCat(
          "parameter ", Quoted(name), ": models are loaded from the repository as they are there"));
    }
  }
  return context.repository.Load(request.model_name());
}

absl::Status RepositoryModelUnload(FrontendContext& context,
                                   const RepositoryModelUnloadRequest& request,
                                   RepositoryModelUnloadResponse&) {
  BITMILL_RETURN_IF_ERROR(CheckControl(context, request.repository_name(), request.model_name()));
  return context.repository.Unload(request.model_name());
}

template <typename Request, typename Response,
          absl::Status (*Function)(FrontendContext&, const Request&, Response&)>
void Add(UnaryRpcs& rpcs, const char* name, bool may_take_long = false) {
  rpcs[absl::StrCat("/inference.GRPCInferenceService/", name)] = {
      .run = &RunOnBytes<Request, Response, Function>, .may_take_long = may_take_long};
}

UnaryRpcs MakeRpcs() {
  UnaryRpcs rpcs;
  Add<inference::ServerLiveRequest, inference::ServerLiveResponse, ServerLive>(rpcs, "ServerLive");
  Add<inference::ServerReadyRequest, inference::ServerReadyResponse, ServerReady>(rpcs,
                                                                                  "ServerReady");
  Add<inference::ServerMetadataRequest, inference::ServerMetadataResponse, ServerMetadata>(
      rpcs, "ServerMetadata");
  Add<inference::ModelReadyRequest, inference::ModelReadyResponse, ModelReady>(rpcs, "ModelReady");
  Add<inference::ModelMetadataRequest, inference::ModelMetadataResponse, ModelMetadata>(
      rpcs, "ModelMetadata");
  Add<inference::ModelConfigRequest, inference::ModelConfigResponse, ModelConfig>(rpcs,
                                                                                  "ModelConfig");
  Add<inference::ModelStatisticsRequest, inference::ModelStatisticsResponse, ModelStatistics>(
      rpcs, "ModelStatistics");
  Add<inference::RepositoryIndexRequest, inference::RepositoryIndexResponse, RepositoryIndex>(
      rpcs, "RepositoryIndex");
  Add<RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelLoad>(
      rpcs, "RepositoryModelLoad", /*may_take_long=*/true);
  Add<RepositoryModelUnloadRequest, RepositoryModelUnloadResponse, RepositoryModelUnload>(
      rpcs, "RepositoryModelUnload", /*may_take_long=*/true);
  for (const char* const kind : {"System", "Cuda"}) {
    for (const char* const verb : {"Status", "Register", "Unregister"}) {
      rpcs[absl::StrCat("/inference.GRPCInferenceService/", kind, "SharedMemory", verb)].run =
          &RefuseSharedMemory;
    }
  }
  rpcs["/inference.GRPCInferenceService/TraceSetting"].run = &RefuseTrace;
  rpcs["/inference.GRPCInferenceService/LogSettings"].run = &RefuseLogging;
  return rpcs;
}

}  // namespace

const UnaryRpcs& InferenceUnaryRpcs() {
  static const UnaryRpcs rpcs = MakeRpcs();
  return rpcs;
}

}  // namespace bitmill
