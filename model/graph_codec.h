// A lowered graph as bytes, for plan files. Elements of tensors lie outside, as blobs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/graph.h"

namespace bitmill {

struct EncodedGraph {
  std::string bytes;
  std::vector<SharedTensor> blobs;  // tensors whose elements are to be stored, by number
};

// Tensors of which `without` says so lose their elements (Tensor::WithoutElements).
EncodedGraph EncodeGraph(const Graph& graph, const std::function<bool(const Tensor*)>& without);

// The elements of blob `number`, `bytes` of them, aligned to 64 bytes; an error when there is no
// such blob or it has another size.
using BlobReader =
    std::function<absl::StatusOr<std::shared_ptr<const std::byte>>(uint32_t number, int64_t bytes)>;

// A graph that VerifyGraph and CheckLowered accept; DataLoss otherwise, and errors of `blobs`.
absl::StatusOr<Graph> DecodeGraph(absl::string_view bytes, const BlobReader& blobs);

}  // namespace bitmill
