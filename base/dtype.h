// Element types: those of the Open Inference Protocol, and kBit1 for packed {-1, +1} tensors.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace bitmill {

enum class DType : uint8_t {
  kInvalid,
  kBool,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kFloat16,
  kBFloat16,
  kFloat32,
  kFloat64,
  kBytes,  // variable length: 4-byte little-endian length, then the bytes, per element
  kBit1,   // one bit an element, a set bit stands for -1; channels innermost, 64-bit words
};

// Bytes of one element; 0 for kInvalid, kBytes and kBit1.
int64_t DTypeSize(DType dtype);

// Protocol name: "FP32", "INT8", "BOOL", "BYTES"; kBit1 is "BIT1".
absl::string_view DTypeName(DType dtype);

// nullopt for a name that the protocol does not have ("BIT1" included: it never crosses the wire).
std::optional<DType> DTypeFromName(absl::string_view name);

}  // namespace bitmill
