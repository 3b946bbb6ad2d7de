#include "tools/load/answer_judge.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/inference.pb.h"
#include "tools/client/classes.h"
#include "tools/client/oip_client.h"

namespace bitmill {
namespace {

// The outputs as bytes, each part behind its length so that different outputs never look alike.
std::string Fingerprint(const inference::ModelInferResponse& response) {
  std::string bytes;
  const auto append = [&bytes](const std::string& part) {
    absl::StrAppend(&bytes, part.size(), ":", part, ";");
  };
  for (const auto& output : response.outputs()) {
    append(output.name());
    append(output.datatype());
    for (const int64_t dim : output.shape()) absl::StrAppend(&bytes, dim, ",");
    append(output.contents().SerializeAsString());
  }
  for (const std::string& raw : response.raw_output_contents()) append(raw);
  return bytes;
}

}  // namespace

absl::Status AnswerJudge::SameAsFirst(size_t model, size_t request,
                                      const inference::ModelInferResponse& response) {
  std::string fingerprint = Fingerprint(response);
  const auto [it, first] = first_.try_emplace({model, request}, std::move(fingerprint));
  if (first || it->second == fingerprint) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("request ", request, " got another answer than the first time"));
}

absl::StatusOr<int64_t> CountCorrect(const inference::ModelInferResponse& response,
                                     absl::Span<const int64_t> labels) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<NamedTensor> outputs, ParseAnswer(response));
  if (outputs.empty()) return absl::InvalidArgumentError("the answer has no output to classify");
  BITMILL_ASSIGN_OR_RETURN(const std::vector<int64_t> classes,
                           Classify(outputs.front().tensor, static_cast<int64_t>(labels.size())));
  int64_t correct = 0;
  for (size_t i = 0; i < labels.size(); ++i) correct += classes[i] == labels[i] ? 1 : 0;
  return correct;
}

}  // namespace bitmill
