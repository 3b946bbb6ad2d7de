// TensorProto -> Tensor, with every size checked before anything is allocated.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/tensor.h"
#include "onnx/onnx.pb.h"

namespace bitmill {

// kInvalid for a type that is not supported (strings, complex numbers, 4-bit integers, 8-bit
// floats).
DType DTypeFromOnnx(int32_t data_type);
// The element type that the graph computes with: float32 for the 16-bit floating-point types.
DType ComputeType(DType dtype);

// Elements of raw_data or of the typed field; FP16 and BF16 become FP32. InvalidArgument for a
// malformed tensor, Unimplemented for types and storage (external, segmented) that are not
// supported. Allocates at most four times the bytes that the message holds.
absl::StatusOr<Tensor> ImportTensor(const onnx::TensorProto& proto);

}  // namespace bitmill
