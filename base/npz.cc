// The zip part: the directory at the end of the file says where each member is and how large; every
// number in it is checked against the file before use. No 64-bit zip extensions beyond sizes that
// numpy writes for members it streams.
#include "base/npz.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kDirectorySignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr size_t kLocalBytes = 30, kDirectoryBytes = 46, kEndBytes = 22;
constexpr uint16_t kStored = 0, kDeflated = 8;
constexpr uint16_t kEncrypted = 1;
constexpr uint16_t kZip64Extra = 1;
constexpr uint32_t kIn64BitExtra = 0xffffffff;

uint64_t Little(absl::string_view bytes, size_t at, size_t width) {
  uint64_t value = 0;
  for (size_t i = width; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

void Append(std::string& to, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; ++i, value >>= 8) to.push_back(static_cast<char>(value));
}

struct Member {
  std::string name;
  uint16_t method = 0;
  uint32_t crc = 0;
  absl::string_view packed;  // in the archive
  uint64_t size = 0;         // unpacked
};

// Sizes and offset that do not fit 32 bits are in an extra field, in this order.
absl::Status ReadZip64(absl::string_view extra, uint64_t* size, uint64_t* packed,
                       uint64_t* offset) {
  while (extra.size() >= 4) {
    const uint64_t id = Little(extra, 0, 2);
    const uint64_t bytes = Little(extra, 2, 2);
    if (bytes > extra.size() - 4) break;
    absl::string_view field = extra.substr(4, bytes);
    if (id == kZip64Extra) {
      for (uint64_t* value : {size, packed, offset}) {
        if (*value != kIn64BitExtra) continue;
        if (field.size() < 8) return absl::InvalidArgumentError("has a damaged 64-bit size");
        *value = Little(field, 0, 8);
        field.remove_prefix(8);
      }
      return absl::OkStatus();
    }
    extra.remove_prefix(4 + bytes);
  }
  return absl::OkStatus();
}

// One entry of the directory at `at`; moves `at` behind it.
absl::StatusOr<Member> ReadMember(absl::string_view zip, size_t* at) {
  if (*at > zip.size() || zip.size() - *at < kDirectoryBytes ||
      Little(zip, *at, 4) != kDirectorySignature) {
    return absl::InvalidArgumentError("has a damaged directory");
  }
  const absl::string_view entry = zip.substr(*at);
  const size_t name_bytes = Little(entry, 28, 2);
  const size_t extra_bytes = Little(entry, 30, 2);
  const size_t comment_bytes = Little(entry, 32, 2);
  if (name_bytes + extra_bytes + comment_bytes > entry.size() - kDirectoryBytes) {
    return absl::InvalidArgumentError("has a damaged directory");
  }
  *at += kDirectoryBytes + name_bytes + extra_bytes + comment_bytes;

  Member member;
  const absl::string_view name = entry.substr(kDirectoryBytes, name_bytes);
  member.name.assign(name.data(), name.size());
  if ((Little(entry, 8, 2) & kEncrypted) != 0) {
    return absl::UnimplementedError(absl::StrCat("member '", member.name, "' is encrypted"));
  }
  member.method = static_cast<uint16_t>(Little(entry, 10, 2));
  member.crc = static_cast<uint32_t>(Little(entry, 16, 4));
  uint64_t packed = Little(entry, 20, 4);
  member.size = Little(entry, 24, 4);
  uint64_t offset = Little(entry, 42, 4);
  BITMILL_RETURN_IF_ERROR(ReadZip64(entry.substr(kDirectoryBytes + name_bytes, extra_bytes),
                                    &member.size, &packed, &offset));
  // The local header repeats the name and has its own extra field.
  if (offset > zip.size() || zip.size() - offset < kLocalBytes ||
      Little(zip, offset, 4) != kLocalSignature) {
    return absl::InvalidArgumentError(absl::StrCat("member '", member.name, "' is damaged"));
  }
  const uint64_t begin =
      offset + kLocalBytes + Little(zip, offset + 26, 2) + Little(zip, offset + 28, 2);
  if (begin > zip.size() || packed > zip.size() - begin) {
    return absl::InvalidArgumentError(
        absl::StrCat("member '", member.name, "' is longer than the file"));
  }
  member.packed = zip.substr(begin, packed);
  return member;
}

absl::StatusOr<std::vector<Member>> ReadDirectory(absl::string_view zip) {
  if (zip.size() < kEndBytes) return absl::InvalidArgumentError("is not a zip file");
  // The end record is last, behind it only a comment of at most 64 KiB.
  const size_t last = zip.size() - kEndBytes;
  const size_t first = last > 0xffff ? last - 0xffff : 0;
  size_t end = last;
  while (Little(zip, end, 4) != kEndSignature) {
    if (end == first) return absl::InvalidArgumentError("is not a zip file, or is cut off");
    --end;
  }
  const uint64_t count = Little(zip, end + 10, 2);
  size_t at = Little(zip, end + 16, 4);
  std::vector<Member> members;
  for (uint64_t i = 0; i < count; ++i) {
    BITMILL_ASSIGN_OR_RETURN(Member member, ReadMember(zip, &at));
    members.push_back(std::move(member));
  }
  return members;
}

absl::StatusOr<std::string> Inflate(absl::string_view packed, size_t size) {
  std::string out(size, '\0');
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return absl::InternalError("zlib does not start");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  size_t in_left = packed.size();
  size_t out_left = size;
  int result = Z_OK;
  do {
    const size_t in_step = std::min<size_t>(in_left, std::numeric_limits<uInt>::max() / 2);
    const size_t out_step = std::min<size_t>(out_left, std::numeric_limits<uInt>::max() / 2);
    stream.avail_in = static_cast<uInt>(in_step);
    stream.avail_out = static_cast<uInt>(out_step);
    result = inflate(&stream, Z_NO_FLUSH);
    in_left -= in_step - stream.avail_in;
    out_left -= out_step - stream.avail_out;
  } while (result == Z_OK && (in_left > 0 || out_left > 0));
  inflateEnd(&stream);
  if (result != Z_STREAM_END || out_left > 0) {
    return absl::InvalidArgumentError("does not unpack to its stated size");
  }
  return out;
}

// A deflated byte gives at most 1032 bytes; a larger claim is a lie that would cost memory.
constexpr uint64_t kMaxExpansion = 1032;

absl::StatusOr<Tensor> ReadArray(const Member& member) {
  std::string unpacked;
  absl::string_view bytes = member.packed;
  if (member.method == kDeflated) {
    if (member.size / kMaxExpansion > member.packed.size()) {
      return absl::InvalidArgumentError("does not unpack to its stated size");
    }
    BITMILL_ASSIGN_OR_RETURN(unpacked, Inflate(member.packed, member.size));
    bytes = unpacked;
  } else if (member.method != kStored) {
    return absl::UnimplementedError(absl::StrCat("is packed with method ", member.method));
  } else if (member.size != member.packed.size()) {
    return absl::InvalidArgumentError("does not have its stated size");
  }
  const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  if (crc != member.crc) return absl::InvalidArgumentError("is damaged: its checksum is wrong");
  return ParseNpy(bytes);
}

absl::StatusOr<std::string> Deflate(absl::string_view bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    return absl::InternalError("zlib does not start");
  }
  std::string out(deflateBound(&stream, static_cast<uLong>(bytes.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END) return absl::InternalError("zlib does not finish");
  return out;
}

absl::StatusOr<std::string> ToNpy(const Tensor& tensor) {
  const char* descr = nullptr;
  switch (tensor.dtype()) {
    case DType::kBool:
      descr = "|b1";
      break;
    case DType::kUInt8:
      descr = "|u1";
      break;
    case DType::kUInt16:
      descr = "<u2";
      break;
    case DType::kUInt32:
      descr = "<u4";
      break;
    case DType::kUInt64:
      descr = "<u8";
      break;
    case DType::kInt8:
      descr = "|i1";
      break;
    case DType::kInt16:
      descr = "<i2";
      break;
    case DType::kInt32:
      descr = "<i4";
      break;
    case DType::kInt64:
      descr = "<i8";
      break;
    case DType::kFloat16:
      descr = "<f2";
      break;
    case DType::kFloat32:
      descr = "<f4";
      break;
    case DType::kFloat64:
      descr = "<f8";
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("NumPy has no elements of type ", DTypeName(tensor.dtype())));
  }
  std::string header = absl::StrCat("{'descr': '", descr, "', 'fortran_order': False, 'shape': (");
  for (const int64_t dim : tensor.shape()) absl::StrAppend(&header, dim, ", ");
  header += "), }";
  // The elements start at a multiple of 64 bytes.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string npy("\x93NUMPY\x01\x00", 8);
  Append(npy, header.size(), 2);
  npy += header;
  if (tensor.bytes() > 0) {
    npy.append(static_cast<const char*>(tensor.data()), static_cast<size_t>(tensor.bytes()));
  }
  return npy;
}

}  // namespace

absl::StatusOr<NamedTensors> ParseNpz(absl::string_view bytes, const std::string& source,
                                      int64_t max_bytes) {
  const std::string place = source.empty() ? "" : absl::StrCat(source, ": ");
  auto members = ReadDirectory(bytes);
  if (!members.ok()) {
    return absl::Status(members.status().code(), absl::StrCat(place, members.status().message()));
  }
  NamedTensors tensors;
  auto left = static_cast<uint64_t>(std::max<int64_t>(max_bytes, 0));
  for (const Member& member : *members) {
    constexpr absl::string_view kEnding = ".npy";
    std::string name = member.name;
    if (name.size() > kEnding.size() && name.compare(name.size() - 4, 4, ".npy") == 0) {
      name.resize(name.size() - kEnding.size());
    }
    if (member.size > left) {
      return absl::InvalidArgumentError(absl::StrCat(place, "'", name, "' unpacks to ", member.size,
                                                     " bytes, at most ", left, " are allowed"));
    }
    left -= member.size;
    auto tensor = ReadArray(member);
    if (absl::IsUnimplemented(tensor.status())) continue;
    if (!tensor.ok()) {
      return absl::Status(tensor.status().code(),
                          absl::StrCat(place, "'", name, "' ", tensor.status().message()));
    }
    if (!tensors.emplace(name, *std::move(tensor)).second) {
      return absl::InvalidArgumentError(absl::StrCat(place, "'", name, "' occurs twice"));
    }
  }
  return tensors;
}

absl::StatusOr<NamedTensors> ReadNpz(const std::string& path, int64_t max_bytes) {
  BITMILL_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  return ParseNpz(bytes, path, max_bytes);
}

absl::Status WriteNpz(const std::string& path, const NamedTensors& tensors) {
  constexpr size_t kMaxFileBytes = std::numeric_limits<uint32_t>::max();
  constexpr uint16_t kVersion = 20;
  constexpr uint16_t kMidnight1980 = 0x21;  // the date field; time is 0
  if (tensors.size() > 0xfffe) return absl::InvalidArgumentError("too many arrays for one archive");
  std::string zip;
  std::string directory;
  for (const auto& [key, tensor] : tensors) {
    const std::string name = absl::StrCat(key, ".npy");
    if (name.size() > 0xffff) return absl::InvalidArgumentError("the name of an array is too long");
    BITMILL_ASSIGN_OR_RETURN(const std::string npy, ToNpy(tensor));
    if (npy.size() >= kMaxFileBytes) {
      return absl::InvalidArgumentError(absl::StrCat("'", key, "' is too large for an archive"));
    }
    BITMILL_ASSIGN_OR_RETURN(const std::string packed, Deflate(npy));
    // The fields that the local header and the directory share.
    std::string common;
    Append(common, kVersion, 2);
    Append(common, 0, 2);
    Append(common, kDeflated, 2);
    Append(common, 0, 2);
    Append(common, kMidnight1980, 2);
    Append(common, crc32_z(0, reinterpret_cast<const Bytef*>(npy.data()), npy.size()), 4);
    Append(common, packed.size(), 4);
    Append(common, npy.size(), 4);
    Append(common, name.size(), 2);
    Append(common, 0, 2);
    Append(directory, kDirectorySignature, 4);
    Append(directory, kVersion, 2);
    directory += common;
    Append(directory, 0, 10);  // comment, disk, attributes: none
    Append(directory, zip.size(), 4);
    directory += name;
    Append(zip, kLocalSignature, 4);
    absl::StrAppend(&zip, common, name, packed);
    if (zip.size() + directory.size() >= kMaxFileBytes) {
      return absl::InvalidArgumentError("the archive would have 4 GiB or more");
    }
  }
  const size_t directory_at = zip.size();
  zip += directory;
  Append(zip, kEndSignature, 4);
  Append(zip, 0, 4);
  Append(zip, tensors.size(), 2);
  Append(zip, tensors.size(), 2);
  Append(zip, directory.size(), 4);
  Append(zip, directory_at, 4);
  Append(zip, 0, 2);
  return WriteFileAtomically(path, zip);
}

}  // namespace bitmill
