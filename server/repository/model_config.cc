#include "server/repository/model_config.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/repository/config_rules.h"

namespace bitmill {
namespace {

using google::protobuf::TextFormat;

constexpr int kMaxDepth = 32;
constexpr size_t kMaxMessageBytes = 300;

// Keeps the first error; later ones are mostly its consequences.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!message_.empty()) return;
    line_ = line;
    column_ = column;
    message_ = EscapeForLog(message);
    if (message_.size() > kMaxMessageBytes) {
      message_.resize(kMaxMessageBytes);
      message_ += "...";
    }
  }
  void AddWarning(int, google::protobuf::io::ColumnNumber, const std::string&) override {}

  absl::Status ToStatus(const std::string& source) const {
    // A line of -1 stands for the text as a whole.
    const std::string place =
        line_ >= 0 ? absl::StrCat(source, ":", line_ + 1, ":", column_ + 1) : source;
    return absl::InvalidArgumentError(
        absl::StrCat(place, ": ", message_.empty() ? "not a model configuration" : message_));
  }

 private:
  int line_ = -1;
  int column_ = 0;
  std::string message_;
};

}  // namespace

struct ConfigPlaces::Tree {
  TextFormat::ParseInfoTree info;
};

ConfigPlaces::ConfigPlaces() = default;
ConfigPlaces::~ConfigPlaces() = default;
ConfigPlaces::ConfigPlaces(ConfigPlaces&&) noexcept = default;
ConfigPlaces& ConfigPlaces::operator=(ConfigPlaces&&) noexcept = default;

std::string ConfigPlaces::Of(const std::vector<Step>& path) const {
  const TextFormat::ParseInfoTree* tree = tree_ == nullptr ? nullptr : &tree_->info;
  const google::protobuf::Descriptor* message = inference::ModelConfig::descriptor();
  TextFormat::ParseLocation best;
  for (const Step& step : path) {
    if (tree == nullptr || message == nullptr) break;
    const google::protobuf::FieldDescriptor* field = message->FindFieldByName(step.field);
    if (field == nullptr) break;
    const int index = field->is_repeated() ? std::max(step.index, 0) : -1;
    TextFormat::ParseLocation location = tree->GetLocation(field, index);
    // Elements of a list in brackets share the place of their first.
    if (location.line < 0 && index > 0) location = tree->GetLocation(field, 0);
    if (location.line < 0) break;
    best = location;
    message = field->message_type();
    tree = message == nullptr ? nullptr : tree->GetTreeForNested(field, index);
  }
  if (best.line < 0) return source_;
  return absl::StrCat(source_, ":", best.line + 1, ":", best.column + 1);
}

bool ConfigPlaces::Has(const char* field) const {
  if (tree_ == nullptr) return false;
  const auto* descriptor = inference::ModelConfig::descriptor()->FindFieldByName(field);
  return descriptor != nullptr &&
         tree_->info.GetLocation(descriptor, descriptor->is_repeated() ? 0 : -1).line >= 0;
}

absl::StatusOr<GivenConfig> ParseModelConfig(absl::string_view text, const std::string& source) {
  if (static_cast<int64_t>(text.size()) > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": ", text.size(), " bytes, the limit is ", kMaxConfigBytes));
  }
  GivenConfig config;
  config.places.tree_ = std::make_unique<ConfigPlaces::Tree>();
  config.places.source_ = source;
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(kMaxDepth);
  parser.WriteLocationsTo(&config.places.tree_->info);
  if (!parser.ParseFromString(std::string(text), &config.proto)) return error.ToStatus(source);
  // The text format lets any bytes into a string; a message with such a string cannot be sent.
  if (inference::ModelConfig copy; !copy.ParseFromString(config.proto.SerializeAsString())) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": a string is not valid UTF-8"));
  }
  config.has_max_batch_size = config.places.Has("max_batch_size");
  BITMILL_RETURN_IF_ERROR(CheckConfigRules(config));
  return config;
}

VersionPolicy VersionPolicyOf(const inference::ModelConfig& config) {
  VersionPolicy policy;
  const inference::ModelVersionPolicy& given = config.version_policy();
  switch (given.policy_choice_case()) {
    case inference::ModelVersionPolicy::kAll:
      policy.kind = VersionPolicy::Kind::kAll;
      break;
    case inference::ModelVersionPolicy::kSpecific:
      policy.kind = VersionPolicy::Kind::kSpecific;
      policy.specific.assign(given.specific().versions().begin(),
                             given.specific().versions().end());
      break;
    case inference::ModelVersionPolicy::kLatest:
      policy.latest = std::max<int64_t>(1, given.latest().num_versions());
      break;
    case inference::ModelVersionPolicy::POLICY_CHOICE_NOT_SET:
      break;
  }
  return policy;
}

}  // namespace bitmill
