#include "base/dtype.h"

#include <array>

namespace bitmill {
namespace {

struct Row {
  DType dtype;
  absl::string_view name;
  int64_t size;
};

constexpr std::array<Row, 16> kRows = {{
    {DType::kInvalid, "INVALID", 0},
    {DType::kBool, "BOOL", 1},
    {DType::kUInt8, "UINT8", 1},
    {DType::kUInt16, "UINT16", 2},
    {DType::kUInt32, "UINT32", 4},
    {DType::kUInt64, "UINT64", 8},
    {DType::kInt8, "INT8", 1},
    {DType::kInt16, "INT16", 2},
    {DType::kInt32, "INT32", 4},
    {DType::kInt64, "INT64", 8},
    {DType::kFloat16, "FP16", 2},
    {DType::kBFloat16, "BF16", 2},
    {DType::kFloat32, "FP32", 4},
    {DType::kFloat64, "FP64", 8},
    {DType::kBytes, "BYTES", 0},
    {DType::kBit1, "BIT1", 0},
}};

}  // namespace

int64_t DTypeSize(DType dtype) { return kRows[static_cast<size_t>(dtype)].size; }

absl::string_view DTypeName(DType dtype) { return kRows[static_cast<size_t>(dtype)].name; }

std::optional<DType> DTypeFromName(absl::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name && row.dtype != DType::kInvalid && row.dtype != DType::kBit1) {
      return row.dtype;
    }
  }
  return std::nullopt;
}

}  // namespace bitmill
