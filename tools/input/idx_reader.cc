#include "tools/input/idx_reader.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr size_t kMagicBytes = 4;
constexpr int kMaxDims = 8;

DType ElementType(uint8_t code) {
  switch (code) {
    case 0x08:
      return DType::kUInt8;
    case 0x09:
      return DType::kInt8;
    case 0x0b:
      return DType::kInt16;
    case 0x0c:
      return DType::kInt32;
    case 0x0d:
      return DType::kFloat32;
    case 0x0e:
      return DType::kFloat64;
    default:
      return DType::kInvalid;
  }
}

uint8_t ByteAt(absl::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

}  // namespace

bool LooksLikeIdx(absl::string_view bytes) {
  return bytes.size() >= kMagicBytes && bytes[0] == 0 && bytes[1] == 0 &&
         ElementType(ByteAt(bytes, 2)) != DType::kInvalid && ByteAt(bytes, 3) >= 1 &&
         ByteAt(bytes, 3) <= kMaxDims;
}

absl::StatusOr<Tensor> ParseIdx(absl::string_view bytes) {
  if (!LooksLikeIdx(bytes)) return absl::InvalidArgumentError("not an IDX file: wrong first bytes");
  const DType dtype = ElementType(ByteAt(bytes, 2));
  const size_t dims = ByteAt(bytes, 3);
  const size_t header_bytes = kMagicBytes + 4 * dims;
  if (bytes.size() < header_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("an IDX header of ", dims, " dimensions takes ",
                                                   header_bytes, " bytes, the file has ",
                                                   bytes.size()));
  }
  std::vector<int64_t> shape;
  for (size_t i = 0; i < dims; ++i) {
    uint32_t dim = 0;
    for (size_t byte = 0; byte < 4; ++byte) {
      dim = dim << 8 | ByteAt(bytes, kMagicBytes + 4 * i + byte);
    }
    shape.push_back(dim);
  }
  const int64_t size = DTypeSize(dtype);
  const std::optional<int64_t> elements = CheckedProduct(shape);
  const std::optional<int64_t> wanted =
      elements.has_value() ? CheckedMul(*elements, size) : std::nullopt;
  const auto have = static_cast<int64_t>(bytes.size() - header_bytes);
  if (!wanted.has_value() || *wanted != have) {
    return absl::InvalidArgumentError(absl::StrCat("IDX data of shape ", ShapeToString(shape),
                                                   " and type ", DTypeName(dtype), " does not fit ",
                                                   have, " bytes"));
  }
  BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(dtype, shape));
  auto* elements_out = static_cast<char*>(tensor.data());
  std::memcpy(elements_out, bytes.data() + header_bytes, static_cast<size_t>(have));
  for (int64_t i = 0; size > 1 && i < *elements; ++i) {  // from big-endian
    std::reverse(elements_out + i * size, elements_out + (i + 1) * size);
  }
  return tensor;
}

}  // namespace bitmill
