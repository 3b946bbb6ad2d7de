// Encodes a ModelInferResponse into one buffer of exactly the right size. The tensors' places in it
// are known before the model has run, so the model writes its outputs where they are sent from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/repository/repository.h"

namespace bitmill {

struct ResponseParts {
  absl::string_view model_name = {};
  absl::string_view model_version = {};
  absl::string_view id = {};
  const Signature* signature = nullptr;
  absl::Span<const int> outputs = {};  // signature indices, in the order of the answer
  int64_t rows = 1;
  bool in_stream = false;  // as the infer_response of a ModelStreamInferResponse
};

// nullopt when the answer would pass protobuf's 2 GiB.
std::optional<int64_t> ResponseBytes(const ResponseParts& parts);

// Writes all but the tensors into `buffer`, which has ResponseBytes(). tensors[k] becomes the place
// of output outputs[k]: rows * row_bytes bytes, of any alignment.
void EncodeResponse(const ResponseParts& parts, absl::Span<std::byte> buffer,
                    absl::Span<std::byte*> tensors);

// A ModelStreamInferResponse that says what was wrong with the request of this id.
std::string EncodeStreamError(absl::string_view message, absl::string_view model_name,
                              absl::string_view id);

}  // namespace bitmill
