// The one door through which a request reaches a model: matches the decoded request with the
// model's signature and refuses whatever does not fit, naming the tensor, the value seen and the
// value wanted. Pure; nothing behind it checks again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/frontend/infer_request.h"
#include "server/repository/repository.h"

namespace bitmill {

struct BoundRequest {
  int64_t rows = 1;
  uint64_t priority = 0;
  int64_t timeout_us = 0;
  // [input of the signature]: packed rows, in the request's bytes or in `converted`.
  absl::InlinedVector<const std::byte*, 4> inputs;
  // Signature indices of the outputs to answer, in the order asked for.
  absl::InlinedVector<int, 4> outputs;
  std::vector<std::unique_ptr<std::byte[]>> converted;
};

// What a request is checked against.
struct RequestLimits {
  int64_t max_rows = 1;  // of a request to a model that batches
};

// InvalidArgument, or Unimplemented for an extension that is not offered.
absl::StatusOr<BoundRequest> BindRequest(const InferRequestView& request,
                                         const Signature& signature, const RequestLimits& limits);

// The version of a request: 0 for an empty text (the newest). NotFound for what cannot be the
// number of a version.
absl::StatusOr<int64_t> ParseVersion(absl::string_view model, absl::string_view version);

// Text of a request as it may appear in a message: escaped and cut to a readable length.
std::string Quoted(absl::string_view text);

}  // namespace bitmill
