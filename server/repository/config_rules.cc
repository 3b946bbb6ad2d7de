#include "server/repository/config_rules.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "backends/parallel/parallel_options.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/repository/model_path.h"
#include "server/repository/watch_settings.h"

namespace bitmill {
namespace {

using Step = ConfigPlaces::Step;
using Path = std::vector<Step>;

constexpr int64_t kMaxDelayUs = int64_t{60} * 1'000'000;
constexpr int64_t kMaxTimeoutUs = int64_t{24} * 3600 * 1'000'000;
constexpr int kMaxDims = 32;
constexpr int kMaxThreads = 1024;
constexpr int kMaxPowerWatts = 1'000'000;
constexpr double kMaxTuneSeconds = 3600.0;
constexpr double kMinObjectiveMillis = 0.01;
constexpr double kMaxObjectiveMillis = 600'000.0;

// Adds what every rule needs: the place, and the list of things without effect.
class Rules {
 public:
  explicit Rules(GivenConfig& config) : config_(config) {}

  absl::Status Wrong(const Path& path, const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(config_.places.Of(path), ": ", what));
  }
  absl::Status Refused(const Path& path, const std::string& what) const {
    return absl::UnimplementedError(
        absl::StrCat(config_.places.Of(path), ": ", what, " is not supported"));
  }
  void Ignore(const Path& path, const std::string& what) {
    config_.ignored.push_back(absl::StrCat(config_.places.Of(path), ": ", what, " has no effect"));
  }

 private:
  GivenConfig& config_;
};

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", EscapeForLog(text.size() > 100 ? text.substr(0, 100) + "..." : text),
                      "'");
}

absl::Status CheckIdentity(const inference::ModelConfig& config, Rules& rules) {
  static constexpr const char* kPlatforms[] = {"", "onnxruntime_onnx", "bitmill_onnx"};
  static constexpr const char* kBackends[] = {"", "onnxruntime", "bitmill"};
  const auto has = [](const auto& list, const std::string& value) {
    for (const char* entry : list) {
      if (value == entry) return true;
    }
    return false;
  };
  if (!has(kPlatforms, config.platform())) {
    return rules.Wrong({{"platform"}},
                       absl::StrCat("platform ", Quoted(config.platform()),
                                    ", expected 'onnxruntime_onnx' or 'bitmill_onnx'"));
  }
  if (!has(kBackends, config.backend())) {
    return rules.Wrong({{"backend"}}, absl::StrCat("backend ", Quoted(config.backend()),
                                                   ", expected 'onnxruntime' or 'bitmill'"));
  }
  if (!config.default_model_filename().empty() &&
      !IsPathComponent(config.default_model_filename())) {
    return rules.Wrong(
        {{"default_model_filename"}},
        absl::StrCat("default_model_filename ", Quoted(config.default_model_filename()),
                     ", expected the name of a file in the version folder"));
  }
  return absl::OkStatus();
}

absl::Status CheckVersions(const inference::ModelConfig& config, Rules& rules) {
  const inference::ModelVersionPolicy& policy = config.version_policy();
  if (!policy.has_specific()) return absl::OkStatus();
  if (policy.specific().versions().empty()) {
    return rules.Wrong({{"version_policy"}, {"specific"}}, "no versions are listed");
  }
  for (int i = 0; i < policy.specific().versions_size(); ++i) {
    const int64_t version = policy.specific().versions(i);
    if (version <= 0) {
      return rules.Wrong({{"version_policy"}, {"specific"}, {"versions", i}},
                         absl::StrCat("version ", version, ", expected a number above 0"));
    }
  }
  return absl::OkStatus();
}

// Inputs and outputs have these fields in common.
template <typename Tensor>
absl::Status CheckTensor(const Tensor& tensor, const char* kind, int index,
                         std::set<std::string>& names, Rules& rules) {
  const Step self{kind, index};
  if (tensor.name().empty()) return rules.Wrong({self}, absl::StrCat(kind, " without a name"));
  if (!names.insert(tensor.name()).second) {
    return rules.Wrong({self, {"name"}},
                       absl::StrCat(kind, " ", Quoted(tensor.name()), " is listed twice"));
  }
  if (tensor.dims_size() > kMaxDims) {
    return rules.Wrong({self, {"dims"}},
                       absl::StrCat(kind, " ", Quoted(tensor.name()), " has ", tensor.dims_size(),
                                    " dims, the limit is ", kMaxDims));
  }
  for (int i = 0; i < tensor.dims_size(); ++i) {
    if (tensor.dims(i) == -1 || tensor.dims(i) > 0) continue;
    return rules.Wrong({self, {"dims", i}},
                       absl::StrCat(kind, " ", Quoted(tensor.name()), " has dimension ",
                                    tensor.dims(i), ", expected -1 or a number above 0"));
  }
  if (tensor.has_reshape()) return rules.Refused({self, {"reshape"}}, "reshape");
  if (tensor.is_shape_tensor()) return rules.Refused({self, {"is_shape_tensor"}}, "a shape tensor");
  if (tensor.is_non_linear_format_io()) {
    return rules.Refused({self, {"is_non_linear_format_io"}}, "a non-linear format");
  }
  return absl::OkStatus();
}

absl::Status CheckTensors(const inference::ModelConfig& config, Rules& rules) {
  std::set<std::string> inputs;
  for (int i = 0; i < config.input_size(); ++i) {
    const inference::ModelInput& input = config.input(i);
    BITMILL_RETURN_IF_ERROR(CheckTensor(input, "input", i, inputs, rules));
    if (input.allow_ragged_batch()) {
      return rules.Refused({{"input", i}, {"allow_ragged_batch"}}, "a ragged batch");
    }
    if (input.optional()) return rules.Refused({{"input", i}, {"optional"}}, "an optional input");
  }
  std::set<std::string> outputs;
  for (int i = 0; i < config.output_size(); ++i) {
    BITMILL_RETURN_IF_ERROR(CheckTensor(config.output(i), "output", i, outputs, rules));
    if (!config.output(i).label_filename().empty()) {
      rules.Ignore({{"output", i}, {"label_filename"}}, "label_filename");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckMicroseconds(uint64_t value, int64_t limit, const char* name, const Path& path,
                               const Rules& rules) {
  if (value <= static_cast<uint64_t>(limit)) return absl::OkStatus();
  return rules.Wrong(path, absl::StrCat(name, " ", value, ", the limit is ", limit));
}

absl::Status CheckBatching(const inference::ModelConfig& config, Rules& rules) {
  if (config.max_batch_size() < 0 || config.max_batch_size() > kMaxBatchSizeLimit) {
    return rules.Wrong({{"max_batch_size"}},
                       absl::StrCat("max_batch_size ", config.max_batch_size(), ", expected 0 to ",
                                    kMaxBatchSizeLimit));
  }
  if (config.has_sequence_batching()) {
    return rules.Refused({{"sequence_batching"}}, "sequence_batching (stateful models)");
  }
  if (config.has_ensemble_scheduling()) {
    return rules.Refused({{"ensemble_scheduling"}}, "ensemble_scheduling");
  }
  if (!config.has_dynamic_batching()) return absl::OkStatus();
  const inference::ModelDynamicBatching& batching = config.dynamic_batching();
  const Step self{"dynamic_batching"};
  BITMILL_RETURN_IF_ERROR(CheckMicroseconds(batching.max_queue_delay_microseconds(), kMaxDelayUs,
                                            "max_queue_delay_microseconds",
                                            {self, {"max_queue_delay_microseconds"}}, rules));
  for (int i = 0; i < batching.preferred_batch_size_size(); ++i) {
    const int64_t rows = batching.preferred_batch_size(i);
    if (rows >= 1 && rows <= kMaxBatchSizeLimit) continue;
    return rules.Wrong({self, {"preferred_batch_size", i}},
                       absl::StrCat("preferred_batch_size ", rows, ", expected a number above 0"));
  }
  const inference::ModelQueuePolicy& policy = batching.default_queue_policy();
  BITMILL_RETURN_IF_ERROR(CheckMicroseconds(
      policy.default_timeout_microseconds(), kMaxTimeoutUs, "default_timeout_microseconds",
      {self, {"default_queue_policy"}, {"default_timeout_microseconds"}}, rules));
  if (policy.timeout_action() == inference::ModelQueuePolicy::DELAY) {
    rules.Ignore({self, {"default_queue_policy"}, {"timeout_action"}},
                 "timeout_action DELAY: the default timeout");
  }
  if (batching.preserve_ordering()) {
    rules.Ignore({self, {"preserve_ordering"}}, "preserve_ordering");
  }
  if (batching.default_priority_level() != 0) {
    rules.Ignore({self, {"default_priority_level"}}, "default_priority_level");
  }
  if (!batching.priority_queue_policy().empty()) {
    rules.Ignore({self, {"priority_queue_policy"}}, "priority_queue_policy");
  }
  return absl::OkStatus();
}

bool IsOnGpu(const inference::ModelInstanceGroup& group) {
  return group.kind() == inference::ModelInstanceGroup::KIND_GPU || group.gpus_size() > 0;
}

// An instance on a GPU is one of the backend cuda, and so are all instances of a model.
absl::Status CheckGpus(const inference::ModelConfig& config, int i, Rules& rules) {
  const inference::ModelInstanceGroup& group = config.instance_group(i);
  if (!IsOnGpu(group)) return absl::OkStatus();
  const Path kind = {{"instance_group", i}, {"kind"}};
  const auto named = config.parameters().find("backend");
  if (named != config.parameters().end() && named->second.string_value() != "cuda") {
    return rules.Refused(kind, absl::StrCat("an instance on a GPU beside parameter 'backend' ",
                                            Quoted(named->second.string_value()), ", not 'cuda',"));
  }
  if (group.kind() == inference::ModelInstanceGroup::KIND_CPU) {
    return rules.Wrong(kind, "KIND_CPU with gpus");
  }
  for (const inference::ModelInstanceGroup& other : config.instance_group()) {
    if (other.kind() == inference::ModelInstanceGroup::KIND_CPU) {
      return rules.Refused(kind,
                           "instances on a GPU beside others on the CPU (parameter 'backend' "
                           "'auto' computes each batch on either, without instance_group)");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckInstances(const inference::ModelConfig& config, Rules& rules) {
  int64_t instances = 0;
  for (int i = 0; i < config.instance_group_size(); ++i) {
    const inference::ModelInstanceGroup& group = config.instance_group(i);
    const Step self{"instance_group", i};
    BITMILL_RETURN_IF_ERROR(CheckGpus(config, i, rules));
    if (group.secondary_devices_size() > 0) {
      return rules.Refused({self, {"secondary_devices"}}, "a secondary device");
    }
    if (group.count() < 0) {
      return rules.Wrong({self, {"count"}},
                         absl::StrCat("count ", group.count(), ", expected 1 or more"));
    }
    instances += std::max(1, group.count());
    if (instances > kMaxInstances) {
      return rules.Wrong({self, {"count"}},
                         absl::StrCat(instances, " instances, the limit is ", kMaxInstances));
    }
    if (group.has_rate_limiter()) rules.Ignore({self, {"rate_limiter"}}, "rate_limiter");
    if (!group.host_policy().empty()) rules.Ignore({self, {"host_policy"}}, "host_policy");
    if (group.profile_size() > 0) rules.Ignore({self, {"profile"}}, "profile");
  }
  return absl::OkStatus();
}

absl::Status CheckWarmup(const inference::ModelConfig& config, Rules& rules) {
  int64_t runs = 0;
  for (int i = 0; i < config.model_warmup_size(); ++i) {
    const inference::ModelWarmup& warmup = config.model_warmup(i);
    const Step self{"model_warmup", i};
    runs += std::max<int64_t>(1, warmup.count());
    if (runs > kMaxWarmupRuns) {
      return rules.Wrong({self, {"count"}},
                         absl::StrCat(runs, " warm-up runs, the limit is ", kMaxWarmupRuns));
    }
    for (const auto& [name, input] : warmup.inputs()) {
      if (input.input_data_type_case() == inference::ModelWarmup::Input::kInputDataFile &&
          !IsPathComponent(input.input_data_file())) {
        return rules.Wrong({self, {"inputs"}},
                           absl::StrCat("input_data_file ", Quoted(input.input_data_file()),
                                        ", expected the name of a file in the warmup folder"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPrecision(const inference::ModelConfig& config, Rules& rules) {
  const auto value_of = [&config](const char* key) {
    const auto found = config.parameters().find(key);
    return found == config.parameters().end() ? std::string() : found->second.string_value();
  };
  const std::string precision = value_of("precision"), calibration = value_of("calibration");
  const Path place = {{"parameters"}};
  if (config.parameters().contains("precision") && precision != "exact" && precision != "fast" &&
      precision != "bf16") {
    return rules.Wrong(place, absl::StrCat("parameter 'precision' is ", Quoted(precision),
                                           ", expected 'exact', 'fast' or 'bf16'"));
  }
  if (config.parameters().contains("calibration") && !IsPathComponent(calibration)) {
    return rules.Wrong(place, absl::StrCat("parameter 'calibration' is ", Quoted(calibration),
                                           ", expected the name of a file in the model's or the "
                                           "version's folder"));
  }
  if (precision == "fast" && calibration.empty()) {
    return rules.Wrong(place,
                       "parameter 'precision' is 'fast', which wants a parameter 'calibration' "
                       "with a file of samples");
  }
  if (const std::string plan_cache = value_of("plan_cache");
      config.parameters().contains("plan_cache") && plan_cache != "on" && plan_cache != "off") {
    return rules.Wrong(place, absl::StrCat("parameter 'plan_cache' is ", Quoted(plan_cache),
                                           ", expected 'on' or 'off'"));
  }
  if (precision != "fast" && !calibration.empty()) {
    rules.Ignore(place, "parameter 'calibration' without precision 'fast'");
  }
  return absl::OkStatus();
}

absl::Status CheckThreads(const inference::ModelConfig& config, Rules& rules) {
  const auto found = config.parameters().find("threads");
  if (found == config.parameters().end()) return absl::OkStatus();
  const std::string& text = found->second.string_value();
  int threads = 0;
  if (absl::SimpleAtoi(text, &threads) && threads >= 1 && threads <= kMaxThreads) {
    return absl::OkStatus();
  }
  return rules.Wrong({{"parameters"}}, absl::StrCat("parameter 'threads' is ", Quoted(text),
                                                    ", expected 1 to ", kMaxThreads));
}

absl::Status CheckBackend(const inference::ModelConfig& config, Rules& rules) {
  const auto found = config.parameters().find("backend");
  if (found == config.parameters().end()) return absl::OkStatus();
  const std::string& text = found->second.string_value();
  if (text == "cpu" || text == "opencl" || text == "cuda" || text == "auto") {
    return absl::OkStatus();
  }
  return rules.Wrong({{"parameters"}},
                     absl::StrCat("parameter 'backend' is ", Quoted(text),
                                  ", expected 'cpu', 'opencl', 'cuda' or 'auto'"));
}

absl::Status CheckEvict(const inference::ModelConfig& config, Rules& rules) {
  const auto found = config.parameters().find("evict");
  if (found == config.parameters().end()) return absl::OkStatus();
  const std::string& text = found->second.string_value();
  if (text == "on" || text == "off") return absl::OkStatus();
  return rules.Wrong({{"parameters"}}, absl::StrCat("parameter 'evict' is ", Quoted(text),
                                                    ", expected 'on' or 'off'"));
}

absl::Status CheckPower(const inference::ModelConfig& config, Rules& rules) {
  const auto& parameters = config.parameters();
  if (const auto found = parameters.find("power_max_watts"); found != parameters.end()) {
    const std::string& text = found->second.string_value();
    double watts = 0;
    if (!absl::SimpleAtod(text, &watts) || !(watts > 0 && watts <= kMaxPowerWatts)) {
      return rules.Wrong({{"parameters"}},
                         absl::StrCat("parameter 'power_max_watts' is ", Quoted(text),
                                      ", expected more than 0, at most ", kMaxPowerWatts));
    }
  }
  const auto found = parameters.find("power_prefer");
  if (found == parameters.end()) return absl::OkStatus();
  const std::string& text = found->second.string_value();
  if (text == "speed" || text == "efficiency") return absl::OkStatus();
  return rules.Wrong({{"parameters"}}, absl::StrCat("parameter 'power_prefer' is ", Quoted(text),
                                                    ", expected 'speed' or 'efficiency'"));
}

absl::Status CheckParallel(const inference::ModelConfig& config, Rules& rules) {
  const auto found = config.parameters().find("parallel");
  if (found == config.parameters().end()) return absl::OkStatus();
  const auto parsed = ParseParallel(found->second.string_value());
  if (parsed.ok()) return absl::OkStatus();
  return rules.Wrong({{"parameters"}},
                     absl::StrCat("parameter 'parallel' is ", parsed.status().message()));
}

absl::Status CheckTune(const inference::ModelConfig& config, Rules& rules) {
  const auto found = config.parameters().find("tune");
  if (found == config.parameters().end()) return absl::OkStatus();
  const std::string& text = found->second.string_value();
  double seconds = 0.0;
  if (absl::SimpleAtod(text, &seconds) && seconds >= 0.0 && seconds <= kMaxTuneSeconds) {
    return absl::OkStatus();
  }
  return rules.Wrong({{"parameters"}},
                     absl::StrCat("parameter 'tune' is ", Quoted(text), ", expected 0 to ",
                                  kMaxTuneSeconds, " seconds"));
}

bool IsObjective(double millis) {
  return millis >= kMinObjectiveMillis && millis <= kMaxObjectiveMillis;
}

// Leaves the objective in the parameter slo_p99_ms alone, wherever it was written.
absl::Status CheckObjective(inference::ModelConfig& config, Rules& rules) {
  const auto wanted = [] {
    return absl::StrCat(", expected ", kMinObjectiveMillis, " to ", kMaxObjectiveMillis,
                        " milliseconds");
  };
  const Path place = {{"parameters"}};
  auto& parameters = *config.mutable_parameters();
  if (const auto found = parameters.find("slo_p99_ms"); found != parameters.end()) {
    if (config.has_slo()) {
      return rules.Wrong({{"slo"}}, "slo and the parameter 'slo_p99_ms', expected one of them");
    }
    double millis = 0;
    if (!absl::SimpleAtod(found->second.string_value(), &millis) || !IsObjective(millis)) {
      return rules.Wrong(place, absl::StrCat("parameter 'slo_p99_ms' is ",
                                             Quoted(found->second.string_value()), wanted()));
    }
  }
  if (config.has_slo()) {
    if (!IsObjective(config.slo().p99_ms())) {
      return rules.Wrong({{"slo"}, {"p99_ms"}},
                         absl::StrCat("p99_ms ", config.slo().p99_ms(), wanted()));
    }
    parameters["slo_p99_ms"].set_string_value(absl::StrCat(config.slo().p99_ms()));
    config.clear_slo();
  }
  const auto adapt = parameters.find("adapt");
  if (adapt == parameters.end()) return absl::OkStatus();
  const std::string& mode = adapt->second.string_value();
  if (mode != "off" && mode != "advise" && mode != "on") {
    return rules.Wrong(place, absl::StrCat("parameter 'adapt' is ", Quoted(mode),
                                           ", expected 'off', 'advise' or 'on'"));
  }
  if (mode != "off" && !parameters.contains("slo_p99_ms")) {
    return rules.Wrong(place, absl::StrCat("parameter 'adapt' is ", Quoted(mode),
                                           ", which wants an objective: a parameter 'slo_p99_ms'"));
  }
  return absl::OkStatus();
}

absl::Status CheckWatch(const inference::ModelConfig& config, Rules& rules) {
  const auto settings = ParseWatchSettings([&config](const char* key) {
    const auto found = config.parameters().find(key);
    return found == config.parameters().end() ? std::string() : found->second.string_value();
  });
  if (!settings.ok()) {
    return rules.Wrong({{"parameters"}}, std::string(settings.status().message()));
  }
  return absl::OkStatus();
}

absl::Status CheckOtherFeatures(const inference::ModelConfig& config, Rules& rules) {
  if (config.batch_input_size() > 0) return rules.Refused({{"batch_input", 0}}, "batch_input");
  if (config.batch_output_size() > 0) return rules.Refused({{"batch_output", 0}}, "batch_output");
  if (!config.cc_model_filenames().empty()) {
    return rules.Refused({{"cc_model_filenames", 0}}, "cc_model_filenames");
  }
  if (config.model_operations().op_library_filename_size() > 0) {
    return rules.Refused({{"model_operations"}}, "an operator library");
  }
  if (config.model_transaction_policy().decoupled()) {
    return rules.Refused({{"model_transaction_policy"}, {"decoupled"}}, "a decoupled model");
  }
  if (config.model_repository_agents().agents_size() > 0) {
    return rules.Refused({{"model_repository_agents"}}, "a repository agent");
  }
  if (config.response_cache().enable()) rules.Ignore({{"response_cache"}}, "response_cache");
  if (config.has_optimization()) rules.Ignore({{"optimization"}}, "optimization");
  if (!config.metric_tags().empty()) rules.Ignore({{"metric_tags", 0}}, "metric_tags");
  if (config.has_model_metrics()) rules.Ignore({{"model_metrics"}}, "model_metrics");
  if (!config.runtime().empty()) rules.Ignore({{"runtime"}}, "runtime");
  return absl::OkStatus();
}

}  // namespace

bool WantsGpu(const GivenConfig& config) {
  return std::ranges::any_of(config.proto.instance_group(), IsOnGpu);
}

absl::Status CheckConfigRules(GivenConfig& config) {
  Rules rules(config);
  BITMILL_RETURN_IF_ERROR(CheckIdentity(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckVersions(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckTensors(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckBatching(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckInstances(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckWarmup(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckPrecision(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckThreads(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckBackend(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckEvict(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckPower(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckParallel(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckTune(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckObjective(config.proto, rules));
  BITMILL_RETURN_IF_ERROR(CheckWatch(config.proto, rules));
  return CheckOtherFeatures(config.proto, rules);
}

}  // namespace bitmill
