#include "tools/input/npz_reader.h"

#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "tools/input/inflate.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxArrayBytes = int64_t{1} << 32;

// Little-endian integer at `offset`; the caller has checked that it lies inside.
template <typename Int>
Int ReadLittle(absl::string_view bytes, size_t offset) {
  Int value = 0;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

bool Inside(absl::string_view bytes, uint64_t offset, uint64_t length) {
  return offset <= bytes.size() && length <= bytes.size() - offset;
}

// The text after "'key':" in the header's dictionary, from its first character on.
std::optional<absl::string_view> HeaderField(absl::string_view header, absl::string_view key) {
  const size_t at = header.find(absl::StrCat("'", key, "'"));
  if (at == absl::string_view::npos) return std::nullopt;
  const size_t colon = header.find(':', at);
  if (colon == absl::string_view::npos) return std::nullopt;
  return absl::StripLeadingAsciiWhitespace(header.substr(colon + 1));
}

// "'<f4', ..." -> "<f4".
std::optional<absl::string_view> QuotedText(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, "'")) return std::nullopt;
  const size_t end = text.find('\'');
  if (end == absl::string_view::npos) return std::nullopt;
  return text.substr(0, end);
}

// "(64, 1, 28), ..." -> dimensions.
std::optional<std::vector<int64_t>> ParseShape(absl::string_view text) {
  const size_t end = text.find(')');
  if (!absl::ConsumePrefix(&text, "(") || end == absl::string_view::npos) return std::nullopt;
  std::vector<int64_t> shape;
  for (const absl::string_view part : absl::StrSplit(text.substr(0, end - 1), ',')) {
    const absl::string_view digits = absl::StripAsciiWhitespace(part);
    if (digits.empty()) continue;  // after the comma of a one-element tuple
    int64_t dim = 0;
    if (!absl::SimpleAtoi(digits, &dim) || dim < 0) return std::nullopt;
    shape.push_back(dim);
  }
  return shape;
}

DType FromDescription(absl::string_view text) {
  if (text.size() != 3) return DType::kInvalid;
  const absl::string_view kind = text.substr(1);
  const bool single_byte = kind == "b1" || kind == "u1" || kind == "i1";
  if (text[0] != '<' && !(single_byte && (text[0] == '|' || text[0] == '='))) {
    return DType::kInvalid;
  }
  if (kind == "b1") return DType::kBool;
  if (kind == "u1") return DType::kUInt8;
  if (kind == "u2") return DType::kUInt16;
  if (kind == "u4") return DType::kUInt32;
  if (kind == "u8") return DType::kUInt64;
  if (kind == "i1") return DType::kInt8;
  if (kind == "i2") return DType::kInt16;
  if (kind == "i4") return DType::kInt32;
  if (kind == "i8") return DType::kInt64;
  if (kind == "f2") return DType::kFloat16;
  if (kind == "f4") return DType::kFloat32;
  if (kind == "f8") return DType::kFloat64;
  return DType::kInvalid;
}

struct Member {
  std::string name;
  uint16_t method = 0;
  uint64_t packed_bytes = 0, bytes = 0, offset = 0;
};

constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr size_t kEndBytes = 22, kCentralBytes = 46, kLocalBytes = 30;

// The list of members stands at the end of a zip file, before a comment of up to 64 KiB.
absl::StatusOr<std::vector<Member>> ReadDirectory(absl::string_view zip) {
  if (zip.size() < kEndBytes) return absl::InvalidArgumentError("too short for a zip archive");
  size_t end = zip.size() - kEndBytes;
  const size_t first = end > 65535 ? end - 65535 : 0;
  while (ReadLittle<uint32_t>(zip, end) != kEndSignature) {
    if (end == first) {
      return absl::InvalidArgumentError("not a zip archive, or it ends too early: no directory");
    }
    --end;
  }
  const uint16_t count = ReadLittle<uint16_t>(zip, end + 10);
  size_t at = ReadLittle<uint32_t>(zip, end + 16);
  std::vector<Member> members;
  for (int i = 0; i < count; ++i) {
    if (!Inside(zip, at, kCentralBytes) || ReadLittle<uint32_t>(zip, at) != kCentralSignature) {
      return absl::InvalidArgumentError(absl::StrCat("damaged zip directory at member ", i));
    }
    Member member;
    member.method = ReadLittle<uint16_t>(zip, at + 10);
    member.packed_bytes = ReadLittle<uint32_t>(zip, at + 20);
    member.bytes = ReadLittle<uint32_t>(zip, at + 24);
    const uint16_t name_bytes = ReadLittle<uint16_t>(zip, at + 28);
    const uint16_t extra_bytes = ReadLittle<uint16_t>(zip, at + 30);
    const uint16_t comment_bytes = ReadLittle<uint16_t>(zip, at + 32);
    member.offset = ReadLittle<uint32_t>(zip, at + 42);
    if (!Inside(zip, at + kCentralBytes, name_bytes)) {
      return absl::InvalidArgumentError(absl::StrCat("damaged zip directory at member ", i));
    }
    member.name = std::string(zip.substr(at + kCentralBytes, name_bytes));
    if (member.bytes == UINT32_MAX || member.packed_bytes == UINT32_MAX ||
        member.offset == UINT32_MAX) {
      return absl::UnimplementedError(
          absl::StrCat("member '", member.name, "' needs zip64; arrays stay below 4 GiB"));
    }
    members.push_back(std::move(member));
    at += kCentralBytes + name_bytes + extra_bytes + comment_bytes;
  }
  return members;
}

absl::StatusOr<std::string> ReadMember(absl::string_view zip, const Member& member) {
  constexpr uint16_t kStored = 0, kDeflated = 8;
  if (!Inside(zip, member.offset, kLocalBytes) ||
      ReadLittle<uint32_t>(zip, member.offset) != kLocalSignature) {
    return absl::InvalidArgumentError("its header is damaged");
  }
  const uint64_t start = member.offset + kLocalBytes +
                         ReadLittle<uint16_t>(zip, member.offset + 26) +
                         ReadLittle<uint16_t>(zip, member.offset + 28);
  if (!Inside(zip, start, member.packed_bytes)) {
    return absl::InvalidArgumentError("its data ends after the file");
  }
  const absl::string_view packed = zip.substr(start, member.packed_bytes);
  std::string bytes;
  if (member.method == kStored) {
    bytes = std::string(packed);
  } else if (member.method == kDeflated) {
    BITMILL_ASSIGN_OR_RETURN(
        bytes, Inflate(packed, DeflateFormat::kRaw, static_cast<int64_t>(member.bytes)));
  } else {
    return absl::UnimplementedError(
        absl::StrCat("compression method ", member.method, "; numpy writes 0 or 8"));
  }
  if (bytes.size() != member.bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("it holds ", bytes.size(), " bytes, the directory says ", member.bytes));
  }
  return bytes;
}

}  // namespace

absl::StatusOr<Tensor> ParseNpy(absl::string_view bytes) {
  constexpr absl::string_view kMagic("\x93NUMPY", 6);
  if (bytes.size() < 10 || !absl::StartsWith(bytes, kMagic)) {
    return absl::InvalidArgumentError("not an .npy array: wrong first bytes");
  }
  const uint8_t version = static_cast<uint8_t>(bytes[6]);
  if (version < 1 || version > 3) {
    return absl::UnimplementedError(absl::StrCat("npy version ", version, "; 1 to 3 are read"));
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  if (bytes.size() < 8 + length_bytes) {
    return absl::InvalidArgumentError("the .npy header ends too early");
  }
  const uint64_t header_bytes =
      version == 1 ? ReadLittle<uint16_t>(bytes, 8) : ReadLittle<uint32_t>(bytes, 8);
  if (!Inside(bytes, 8 + length_bytes, header_bytes)) {
    return absl::InvalidArgumentError("the .npy header ends too early");
  }
  const absl::string_view header = bytes.substr(8 + length_bytes, header_bytes);
  const absl::string_view data = bytes.substr(8 + length_bytes + header_bytes);

  const auto description = HeaderField(header, "descr");
  const auto order = HeaderField(header, "fortran_order");
  const auto shape_text = HeaderField(header, "shape");
  if (!description.has_value() || !order.has_value() || !shape_text.has_value()) {
    return absl::InvalidArgumentError("the .npy header lacks descr, fortran_order or shape");
  }
  const auto type_text = QuotedText(*description);
  const DType dtype = type_text.has_value() ? FromDescription(*type_text) : DType::kInvalid;
  if (dtype == DType::kInvalid) {
    return absl::UnimplementedError(
        absl::StrCat("element type ", type_text.value_or("(structured)"),
                     "; little-endian bool, integers and floats are read"));
  }
  const auto shape = ParseShape(*shape_text);
  if (!shape.has_value()) return absl::InvalidArgumentError("the .npy header has no valid shape");
  if (!absl::StartsWith(*order, "False")) {
    return absl::UnimplementedError("Fortran order; save np.ascontiguousarray(x)");
  }
  const std::optional<int64_t> elements = CheckedProduct(*shape);
  const std::optional<int64_t> wanted =
      elements.has_value() ? CheckedMul(*elements, DTypeSize(dtype)) : std::nullopt;
  if (!wanted.has_value() || *wanted > kMaxArrayBytes ||
      *wanted != static_cast<int64_t>(data.size())) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", ShapeToString(*shape), " of ",
                                                   DTypeName(dtype), " does not fit ", data.size(),
                                                   " bytes of data"));
  }
  BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(dtype, *shape));
  std::memcpy(tensor.data(), data.data(), data.size());
  return tensor;
}

absl::StatusOr<std::vector<NamedTensor>> ParseNpz(absl::string_view bytes) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<Member> members, ReadDirectory(bytes));
  std::vector<NamedTensor> arrays;
  for (const Member& member : members) {
    const auto in_member = [&member](const absl::Status& status) {
      return absl::Status(status.code(),
                          absl::StrCat("array '", member.name, "': ", status.message()));
    };
    absl::string_view name = member.name;
    if (!absl::ConsumeSuffix(&name, ".npy")) continue;
    const absl::StatusOr<std::string> unpacked = ReadMember(bytes, member);
    if (!unpacked.ok()) return in_member(unpacked.status());
    absl::StatusOr<Tensor> tensor = ParseNpy(*unpacked);
    // Text and objects (a note about where the data is from) are no tensors: left out.
    if (absl::IsUnimplemented(tensor.status())) continue;
    if (!tensor.ok()) return in_member(tensor.status());
    arrays.push_back({std::string(name), *std::move(tensor)});
  }
  if (arrays.empty()) return absl::InvalidArgumentError("the archive holds no numeric array");
  return arrays;
}

}  // namespace bitmill
