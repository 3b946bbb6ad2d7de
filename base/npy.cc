// The .npy format: magic, version, header length, a Python dictionary literal, the elements.
#include <cstring>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/npz.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxRank = 32;

absl::string_view SkipSpace(absl::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\n')) text.remove_prefix(1);
  return text;
}

// What stands behind 'key': in the header; empty when the key is missing.
absl::string_view After(absl::string_view header, const char* key) {
  const std::string quoted = absl::StrCat("'", key, "'");
  const size_t at = header.find(quoted);
  if (at == absl::string_view::npos) return {};
  absl::string_view rest = SkipSpace(header.substr(at + quoted.size()));
  if (rest.empty() || rest.front() != ':') return {};
  rest.remove_prefix(1);
  return SkipSpace(rest);
}

// "'<f4'" -> kFloat32; kInvalid for what is not little-endian numbers.
DType ParseDescr(absl::string_view text) {
  if (text.size() < 5 || text[0] != '\'' || text[4] != '\'') return DType::kInvalid;
  const char order = text[1];
  const absl::string_view code = text.substr(2, 2);
  const bool byte_wide = code[1] == '1';
  if (order != '<' && !(order == '|' && byte_wide)) return DType::kInvalid;
  constexpr struct {
    const char* code;
    DType dtype;
  } kTypes[] = {{"b1", DType::kBool},    {"u1", DType::kUInt8},   {"u2", DType::kUInt16},
                {"u4", DType::kUInt32},  {"u8", DType::kUInt64},  {"i1", DType::kInt8},
                {"i2", DType::kInt16},   {"i4", DType::kInt32},   {"i8", DType::kInt64},
                {"f2", DType::kFloat16}, {"f4", DType::kFloat32}, {"f8", DType::kFloat64}};
  for (const auto& type : kTypes) {
    if (code == type.code) return type.dtype;
  }
  return DType::kInvalid;
}

std::optional<Shape> ParseShape(absl::string_view text) {
  if (text.empty() || text.front() != '(') return std::nullopt;
  const size_t close = text.find(')');
  if (close == absl::string_view::npos) return std::nullopt;
  text = text.substr(1, close - 1);
  Shape shape;
  while (!(text = SkipSpace(text)).empty()) {
    const size_t comma = text.find(',');
    int64_t dim = 0;
    if (!absl::SimpleAtoi(text.substr(0, comma), &dim) || dim < 0 || shape.size() == kMaxRank) {
      return std::nullopt;
    }
    shape.push_back(dim);
    if (comma == absl::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return shape;
}

}  // namespace

absl::StatusOr<Tensor> ParseNpy(absl::string_view bytes) {
  if (bytes.size() < 10 || bytes.substr(0, 6) != kMagic) {
    return absl::InvalidArgumentError("is not an .npy array");
  }
  const auto byte_at = [&](size_t i) {
    return static_cast<size_t>(static_cast<uint8_t>(bytes[i]));
  };
  const size_t version = byte_at(6);
  if (version < 1 || version > 3) {
    return absl::InvalidArgumentError(absl::StrCat("has .npy version ", version));
  }
  size_t header_at = 10;
  size_t header_size = byte_at(8) | byte_at(9) << 8;
  if (version > 1) {
    header_at = 12;
    if (bytes.size() < header_at) return absl::InvalidArgumentError("ends in its header");
    header_size |= byte_at(10) << 16 | byte_at(11) << 24;
  }
  if (header_size > bytes.size() - header_at) {
    return absl::InvalidArgumentError("ends in its header");
  }
  const absl::string_view header = bytes.substr(header_at, header_size);
  const absl::string_view data = bytes.substr(header_at + header_size);
  const DType dtype = ParseDescr(After(header, "descr"));
  if (dtype == DType::kInvalid) {
    return absl::UnimplementedError("has elements that are not little-endian numbers");
  }
  const std::optional<Shape> shape = ParseShape(After(header, "shape"));
  if (!shape) return absl::InvalidArgumentError("has a header without a shape");
  const absl::string_view order = After(header, "fortran_order");
  if (order.substr(0, 5) != "False" && shape->size() > 1) {
    return absl::UnimplementedError("is in Fortran order");
  }
  const auto count = CheckedProduct(*shape);
  const auto size = count ? CheckedMul(*count, DTypeSize(dtype)) : std::nullopt;
  if (!size || *size != static_cast<int64_t>(data.size())) {
    return absl::InvalidArgumentError(absl::StrCat("has shape ", ShapeToString(*shape), " of ",
                                                   DTypeName(dtype), " but ", data.size(),
                                                   " bytes of elements"));
  }
  BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(dtype, *shape));
  if (!data.empty()) std::memcpy(tensor.data(), data.data(), data.size());
  return tensor;
}

}  // namespace bitmill
