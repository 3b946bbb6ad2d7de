#include "server/repository/complete_config.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/repository/watch_settings.h"

namespace bitmill {
namespace {

constexpr char kPlatform[] = "bitmill_onnx";
constexpr char kBackend[] = "bitmill";

absl::Status WrongAt(const GivenConfig& given, const std::vector<ConfigPlaces::Step>& path,
                     const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(given.places.Of(path), ": ", what));
}

absl::Status ReadBatching(const GivenConfig& given, BatchSettings& batch) {
  const inference::ModelDynamicBatching& batching = given.proto.dynamic_batching();
  batch.max_delay_us = static_cast<int64_t>(batching.max_queue_delay_microseconds());
  for (int i = 0; i < batching.preferred_batch_size_size(); ++i) {
    const int64_t rows = batching.preferred_batch_size(i);
    if (rows > batch.max_rows) {
      return WrongAt(
          given, {{"dynamic_batching"}, {"preferred_batch_size", i}},
          absl::StrCat("preferred_batch_size ", rows, " is above max_batch_size ", batch.max_rows));
    }
    batch.preferred_rows.push_back(rows);
  }
  std::sort(batch.preferred_rows.begin(), batch.preferred_rows.end());
  batch.preferred_rows.erase(std::unique(batch.preferred_rows.begin(), batch.preferred_rows.end()),
                             batch.preferred_rows.end());
  if (!batching.has_default_queue_policy()) return absl::OkStatus();
  const inference::ModelQueuePolicy& policy = batching.default_queue_policy();
  if (policy.max_queue_size() > 0) batch.max_queue_requests = policy.max_queue_size();
  if (policy.timeout_action() == inference::ModelQueuePolicy::REJECT) {
    batch.default_timeout_us = static_cast<int64_t>(policy.default_timeout_microseconds());
  }
  batch.allow_timeout_override = policy.allow_timeout_override();
  return absl::OkStatus();
}

std::string DimsToString(const google::protobuf::RepeatedField<int64_t>& dims) {
  return absl::StrCat("[", absl::StrJoin(dims, ","), "]");
}

// Dims of a tensor as the configuration describes them.
google::protobuf::RepeatedField<int64_t> DimsOf(const TensorSpec& spec, bool leading_rows) {
  google::protobuf::RepeatedField<int64_t> dims;
  if (leading_rows) dims.Add(-1);
  for (const int64_t dim : spec.row_shape) dims.Add(dim);
  return dims;
}

bool DimsAgree(const google::protobuf::RepeatedField<int64_t>& given,
               const google::protobuf::RepeatedField<int64_t>& wanted) {
  if (given.size() != wanted.size()) return false;
  for (int i = 0; i < given.size(); ++i) {
    if (given.Get(i) != -1 && wanted.Get(i) != -1 && given.Get(i) != wanted.Get(i)) return false;
  }
  return true;
}

// Checks the listed tensors of one kind and returns one entry for each tensor of the model, in the
// model's order.
template <typename Tensor>
absl::StatusOr<google::protobuf::RepeatedPtrField<Tensor>> CompleteTensors(
    const GivenConfig& given, const google::protobuf::RepeatedPtrField<Tensor>& listed,
    const char* kind, const std::vector<TensorSpec>& specs, bool leading_rows) {
  google::protobuf::RepeatedPtrField<Tensor> complete;
  std::vector<int> place_of(specs.size(), -1);
  for (int i = 0; i < listed.size(); ++i) {
    const auto spec = std::find_if(specs.begin(), specs.end(), [&](const TensorSpec& candidate) {
      return candidate.name == listed.Get(i).name();
    });
    if (spec == specs.end()) {
      const std::string names = absl::StrJoin(specs, ", ", [](std::string* out, const auto& one) {
        absl::StrAppend(out, "'", EscapeForLog(one.name), "'");
      });
      return WrongAt(given, {{kind, i}, {"name"}},
                     absl::StrCat("the model has no ", kind, " '",
                                  EscapeForLog(listed.Get(i).name()), "'; it has ", names));
    }
    place_of[static_cast<size_t>(spec - specs.begin())] = i;
  }
  for (size_t s = 0; s < specs.size(); ++s) {
    const int i = place_of[s];
    Tensor& tensor = *complete.Add();
    if (i >= 0) tensor = listed.Get(i);
    tensor.set_name(specs[s].name);
    const std::string label = absl::StrCat(kind, " '", EscapeForLog(specs[s].name), "'");
    const inference::DataType type = ToConfigType(specs[s].dtype);
    if (tensor.data_type() != inference::TYPE_INVALID && tensor.data_type() != type) {
      return WrongAt(given, {{kind, i}, {"data_type"}},
                     absl::StrCat(label, ": data_type ", DataType_Name(tensor.data_type()),
                                  ", the model has ", DataType_Name(type)));
    }
    tensor.set_data_type(type);
    const auto wanted = DimsOf(specs[s], leading_rows);
    if (tensor.dims_size() > 0 && !DimsAgree(tensor.dims(), wanted)) {
      return WrongAt(given, {{kind, i}, {"dims"}},
                     absl::StrCat(label, ": dims ", DimsToString(tensor.dims()), ", the model has ",
                                  DimsToString(wanted)));
    }
    *tensor.mutable_dims() = wanted;
  }
  return complete;
}

// Whoever states an objective and no mode is told what would help.
AdaptMode AdaptModeOf(const ModelSettings& settings) {
  const auto adapt = settings.parameters.find("adapt");
  if (adapt == settings.parameters.end()) {
    return settings.slo_p99_ms > 0 ? AdaptMode::kAdvise : AdaptMode::kOff;
  }
  if (adapt->second == "on") return AdaptMode::kOn;
  return adapt->second == "advise" ? AdaptMode::kAdvise : AdaptMode::kOff;
}

}  // namespace

inference::DataType ToConfigType(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return inference::TYPE_BOOL;
    case DType::kUInt8:
      return inference::TYPE_UINT8;
    case DType::kUInt16:
      return inference::TYPE_UINT16;
    case DType::kUInt32:
      return inference::TYPE_UINT32;
    case DType::kUInt64:
      return inference::TYPE_UINT64;
    case DType::kInt8:
      return inference::TYPE_INT8;
    case DType::kInt16:
      return inference::TYPE_INT16;
    case DType::kInt32:
      return inference::TYPE_INT32;
    case DType::kInt64:
      return inference::TYPE_INT64;
    case DType::kFloat16:
      return inference::TYPE_FP16;
    case DType::kBFloat16:
      return inference::TYPE_BF16;
    case DType::kFloat32:
      return inference::TYPE_FP32;
    case DType::kFloat64:
      return inference::TYPE_FP64;
    case DType::kBytes:
      return inference::TYPE_STRING;
    case DType::kBit1:
    case DType::kInvalid:
      break;
  }
  return inference::TYPE_INVALID;
}

absl::StatusOr<ModelSettings> MakeSettings(const GivenConfig& given, const std::string& name,
                                           bool batchable, int64_t default_max_rows) {
  const inference::ModelConfig& config = given.proto;
  if (!config.name().empty() && config.name() != name) {
    return WrongAt(given, {{"name"}},
                   absl::StrCat("name '", EscapeForLog(config.name()),
                                "' differs from the folder '", EscapeForLog(name), "'"));
  }
  if (config.max_batch_size() > 0 && !batchable) {
    return WrongAt(given, {{"max_batch_size"}},
                   absl::StrCat("max_batch_size ", config.max_batch_size(),
                                ", the model has no batch dimension; expected 0"));
  }
  ModelSettings settings;
  settings.name = name;
  settings.platform = config.platform().empty() ? kPlatform : config.platform();
  if (given.has_max_batch_size) {
    settings.max_batch_size = config.max_batch_size();
  } else {
    settings.max_batch_size = batchable ? default_max_rows : 0;
  }
  BatchSettings& batch = settings.batch;
  batch.dynamic = settings.max_batch_size > 1;
  batch.max_rows = settings.max_batch_size;
  if (batch.max_rows == 0) batch.max_rows = batchable ? default_max_rows : 1;
  BITMILL_RETURN_IF_ERROR(ReadBatching(given, batch));
  settings.versions = VersionPolicyOf(config);
  for (const inference::ModelInstanceGroup& group : config.instance_group()) {
    settings.instances += std::max(1, group.count());
  }
  for (const auto& [key, value] : config.parameters()) {
    settings.parameters[key] = value.string_value();
    // Rules made sure of what these say.
    if (key == "threads") {
      BITMILL_CHECK(absl::SimpleAtoi(value.string_value(), &settings.threads));
    } else if (key == "slo_p99_ms") {
      BITMILL_CHECK(absl::SimpleAtod(value.string_value(), &settings.slo_p99_ms));
    } else if (key == "power_max_watts") {
      BITMILL_CHECK(absl::SimpleAtod(value.string_value(), &settings.power.max_watts));
    } else if (key == "power_prefer") {
      settings.power.efficiency = value.string_value() == "efficiency";
    }
  }
  settings.adapt = AdaptModeOf(settings);
  BITMILL_ASSIGN_OR_RETURN(settings.watch, ParseWatchSettings([&settings](const char* key) {
                             const auto found = settings.parameters.find(key);
                             return found == settings.parameters.end() ? "" : found->second;
                           }));
  // What a watched model has learned of its answers would be lost with it.
  const auto evict = settings.parameters.find("evict");
  settings.evict = evict == settings.parameters.end() ? !settings.watch.on : evict->second == "on";
  return settings;
}

absl::StatusOr<std::string> CompleteConfig(const GivenConfig& given, const ModelSettings& settings,
                                           const Signature& signature) {
  inference::ModelConfig config = given.proto;
  config.set_name(settings.name);
  config.set_platform(settings.platform);
  if (config.backend().empty()) config.set_backend(kBackend);
  config.set_max_batch_size(static_cast<int32_t>(settings.max_batch_size));
  if (config.default_model_filename().empty()) config.set_default_model_filename("model.onnx");
  if (!config.has_version_policy()) {
    config.mutable_version_policy()->mutable_latest()->set_num_versions(1);
  }
  if (settings.batch.dynamic) {
    config.mutable_dynamic_batching()->mutable_default_queue_policy()->set_max_queue_size(
        static_cast<uint32_t>(settings.batch.max_queue_requests));
    config.mutable_dynamic_batching()->mutable_default_queue_policy()->set_allow_timeout_override(
        settings.batch.allow_timeout_override);
  }
  const bool leading_rows = signature.batchable && settings.max_batch_size == 0;
  BITMILL_ASSIGN_OR_RETURN(
      *config.mutable_input(),
      CompleteTensors(given, given.proto.input(), "input", signature.inputs, leading_rows));
  BITMILL_ASSIGN_OR_RETURN(
      *config.mutable_output(),
      CompleteTensors(given, given.proto.output(), "output", signature.outputs, leading_rows));
  std::string text;
  if (!google::protobuf::TextFormat::PrintToString(config, &text)) {
    return absl::InternalError("cannot print the model configuration");
  }
  return text;
}

}  // namespace bitmill
