// A blocking client of the Open Inference Protocol v2 over gRPC: any server that speaks it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/dtype.h"
#include "base/tensor.h"
#include "tools/input/named_tensor.h"

namespace inference {
class ModelInferRequest;
class ModelInferResponse;
}  // namespace inference

namespace bitmill {

struct RemoteTensor {
  std::string name;
  DType dtype = DType::kInvalid;
  std::vector<int64_t> shape;  // as the server declares it; -1 for what a request chooses
};

struct RemoteModel {
  std::string name;
  std::string platform;
  std::vector<std::string> versions;
  std::vector<RemoteTensor> inputs, outputs;
};

// Thread-safe.
class OipClient {
 public:
  // Waits until the server takes the connection. Unavailable, naming the address and what to do,
  // when it does not within `timeout_ms`.
  static absl::StatusOr<std::unique_ptr<OipClient>> Connect(const std::string& address,
                                                            int64_t timeout_ms = 5000);
  ~OipClient();

  // `version` may be empty: the server's choice.
  absl::StatusOr<RemoteModel> Describe(const std::string& model, const std::string& version) const;
  absl::StatusOr<inference::ModelInferResponse> Infer(
      const inference::ModelInferRequest& request) const;

 private:
  struct Impl;
  explicit OipClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Appends an input in raw form: `bytes` are its little-endian elements.
void AddRawInput(const std::string& name, DType dtype, absl::Span<const int64_t> shape,
                 std::string bytes, inference::ModelInferRequest* request);

// The outputs of an answer, whichever of the two forms the server used (raw, typed). Internal,
// naming the tensor, when shape, type and contents disagree; Unimplemented for BYTES.
absl::StatusOr<std::vector<NamedTensor>> ParseAnswer(const inference::ModelInferResponse& response);

}  // namespace bitmill
