// config.pbtxt: a model's configuration in protobuf text format.
//
// Acted on: name, platform and backend (checked), version_policy, max_batch_size, input and output
// (checked against the model, filled in when missing), dynamic_batching (preferred sizes, delay,
// the default queue policy), instance_group (count on CPU), default_model_filename, model_warmup,
// parameters (kept; "precision" and "calibration" choose int8 for float layers, "tune" measures,
// "slo_p99_ms" states an objective and "adapt" lets the settings follow it), slo (our own: the same
// as the parameter slo_p99_ms, and kept as that).
// Accepted without effect, each with a line in the log: optimization, rate limits, priority queue
// policies, response_cache, metric settings, label files, preserve_ordering.
// Refused, because answers would be wrong or missing without them: sequence_batching, ensembles,
// batch_input and batch_output, reshape, ragged, optional and shape tensors, GPU instances, custom
// operators, decoupled answers, repository agents, model files by compute capability.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/model_config.pb.h"
#include "server/repository/model_settings.h"

namespace google::protobuf {
class Message;
}

namespace bitmill {

inline constexpr int64_t kMaxConfigBytes = 1 << 20;
inline constexpr int64_t kMaxBatchSizeLimit = 65'535;
inline constexpr int64_t kMaxInstances = 1024;
inline constexpr int64_t kMaxWarmupRuns = 1000;

// Where the fields of a parsed text stand; so that a value which turns out to be wrong later is
// still reported with its line.
class ConfigPlaces {
 public:
  ConfigPlaces();
  ~ConfigPlaces();
  ConfigPlaces(ConfigPlaces&&) noexcept;
  ConfigPlaces& operator=(ConfigPlaces&&) noexcept;

  struct Step {
    const char* field;
    int index = -1;  // of a repeated field
  };
  // "models/m/config.pbtxt:3:1", or the source alone when the field is not in the text. The last
  // step is the field itself, the ones before lead to the message that holds it.
  std::string Of(const std::vector<Step>& path) const;
  bool Has(const char* field) const;

 private:
  friend absl::StatusOr<struct GivenConfig> ParseModelConfig(absl::string_view, const std::string&);
  struct Tree;
  std::unique_ptr<Tree> tree_;  // null: no text
  std::string source_;
};

// A configuration as it was given, or an empty one.
struct GivenConfig {
  inference::ModelConfig proto;
  ConfigPlaces places;
  bool has_max_batch_size = false;   // 0 that is written differs from nothing written
  std::vector<std::string> ignored;  // what has no effect, one sentence each
};

// Parses the text and checks all that can be checked without the model. InvalidArgument with
// source, line and column for a malformed or wrong value and for unknown fields; Unimplemented for
// what is refused (above). `source` is the path for messages.
absl::StatusOr<GivenConfig> ParseModelConfig(absl::string_view text, const std::string& source);

VersionPolicy VersionPolicyOf(const inference::ModelConfig& config);

}  // namespace bitmill
