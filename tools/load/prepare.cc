#include "tools/load/prepare.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "proto/inference.pb.h"
#include "tools/client/oip_client.h"

namespace bitmill {

absl::StatusOr<std::vector<PreparedRequest>> PrepareRequests(const ModelName& model,
                                                             const Signature& signature,
                                                             const std::vector<RowSet>& inputs,
                                                             const std::vector<int64_t>& labels,
                                                             int64_t batch) {
  BITMILL_CHECK(inputs.size() == signature.inputs.size() && !inputs.empty() && batch > 0);
  const int64_t rows = inputs.front().rows;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].rows != rows) {
      return absl::InvalidArgumentError(absl::StrCat("input '", signature.inputs[i].name, "' has ",
                                                     inputs[i].rows, " rows, input '",
                                                     signature.inputs[0].name, "' has ", rows));
    }
  }
  if (!labels.empty() && static_cast<int64_t>(labels.size()) != rows) {
    return absl::InvalidArgumentError(
        absl::StrCat(labels.size(), " labels for ", rows, " rows of input"));
  }
  if (!signature.batchable && batch != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("model '", model.name, "' takes one row a request; use --batch 1"));
  }
  if (rows < batch) {
    return absl::InvalidArgumentError(
        absl::StrCat("the input has ", rows, " rows, fewer than --batch ", batch));
  }
  std::vector<PreparedRequest> requests;
  for (int64_t first = 0; first + batch <= rows; first += batch) {
    inference::ModelInferRequest request;
    request.set_model_name(model.name);
    request.set_model_version(model.version);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const TensorSpec& spec = signature.inputs[i];
      std::vector<int64_t> shape = spec.row_shape;
      if (signature.batchable) shape.insert(shape.begin(), batch);
      AddRawInput(spec.name, spec.dtype, shape,
                  inputs[i].bytes.substr(static_cast<size_t>(first * spec.row_bytes),
                                         static_cast<size_t>(batch * spec.row_bytes)),
                  &request);
    }
    PreparedRequest& prepared = requests.emplace_back();
    prepared.bytes = request.SerializeAsString();
    prepared.rows = batch;
    if (!labels.empty()) {
      prepared.labels.assign(labels.begin() + first, labels.begin() + first + batch);
    }
  }
  return requests;
}

}  // namespace bitmill
