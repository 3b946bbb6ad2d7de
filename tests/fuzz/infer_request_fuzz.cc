// Arbitrary bytes as a ModelInferRequest: the decoder must agree with the generated class, and the
// door behind it must refuse or give views that lie inside the request or its own memory.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "server/frontend/bind_request.h"
#include "server/frontend/infer_request.h"
#include "tests/server/frontend/differential.h"

namespace bitmill {
namespace {

Signature MakeSignature(bool batchable) {
  Signature signature;
  signature.batchable = batchable;
  signature.inputs = {{"x", DType::kFloat32, {4}, 16}, {"n", DType::kInt8, {3}, 3}};
  signature.outputs = {{"y", DType::kFloat32, {4}, 16}, {"z", DType::kInt64, {}, 8}};
  return signature;
}

// Reads every byte that a model would read, so that the sanitizer sees it.
void Touch(const BoundRequest& bound, const Signature& signature) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bound.inputs.size(); ++i) {
    for (int64_t b = 0; b < bound.rows * signature.inputs[i].row_bytes; ++b) {
      sum += static_cast<uint32_t>(bound.inputs[i][b]);
    }
  }
  volatile uint32_t sink = sum;
  static_cast<void>(sink);
}

void Check(const std::string& bytes) {
  const std::string difference = DifferenceFromGenerated(bytes);
  if (!difference.empty()) {
    std::fprintf(stderr, "%s\n", difference.c_str());
    std::abort();
  }
  InferRequestView view;
  if (!ParseInferRequest(bytes, view).ok()) return;
  for (const bool batchable : {false, true}) {
    const Signature signature = MakeSignature(batchable);
    const absl::StatusOr<BoundRequest> bound =
        BindRequest(view, signature, {.max_rows = batchable ? 8 : 1});
    if (bound.ok()) Touch(*bound, signature);
  }
}

}  // namespace
}  // namespace bitmill

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  bitmill::Check(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
