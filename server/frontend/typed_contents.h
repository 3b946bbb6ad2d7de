// Typed tensor contents (numbers in protobuf fields) as packed little-endian elements, the form
// that models read. FP32 and FP64 sent in one piece already have it and are not copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "server/frontend/infer_request.h"

namespace bitmill {

// The field that holds elements of a type; nullopt: FP16 and BF16 have none.
std::optional<ContentsField> ContentsFieldOf(DType dtype);

struct PackedContents {
  const std::byte* data = nullptr;     // borrowed from the request or from `owned`
  std::unique_ptr<std::byte[]> owned;  // null when nothing had to be converted
};

// `contents` came from ParseInferRequest. InvalidArgument, without the tensor's name, when other
// fields than that of `dtype` are used, the number of elements is not `elements`, or a number does
// not fit the type.
absl::StatusOr<PackedContents> PackContents(const ContentsView& contents, DType dtype,
                                            int64_t elements);

}  // namespace bitmill
