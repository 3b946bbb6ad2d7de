#include "backends/cpu/plan_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr std::array<char, 8> kMagic = {'B', 'I', 'T', 'M', 'P', 'L', 'A', 'N'};
constexpr uint32_t kFormat = 1;
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint64_t kPageBytes = 4096;
constexpr uint32_t kMaxParts = 64;

struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t format = kFormat;
  uint32_t byte_order = kByteOrder;
  uint64_t file_bytes = 0;
  uint32_t parts = 0;
  uint32_t zero = 0;
  uint64_t hash = 0;  // of header and table, while this field is zero
  std::array<uint64_t, 3> reserved{};
};
static_assert(sizeof(Header) == 64);

struct Entry {
  uint32_t part = 0;
  uint32_t zero = 0;
  uint64_t offset = 0, bytes = 0, hash = 0;
};
static_assert(sizeof(Entry) == 32);

uint64_t HashOfTable(Header header, const std::vector<Entry>& table) {
  header.hash = 0;
  Hasher hasher;
  hasher.Add(&header, sizeof(header));
  hasher.Add(table.data(), table.size() * sizeof(Entry));
  return hasher.Finish();
}

uint64_t NextPage(uint64_t offset) { return (offset + kPageBytes - 1) / kPageBytes * kPageBytes; }

// OK when there is nothing at `path`, or a file that begins as ours do.
absl::Status CheckReplaceable(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return absl::OkStatus();
  if (fd >= 0) {
    const absl::Cleanup close_fd = [fd] { close(fd); };
    std::array<char, 8> magic{};
    if (read(fd, magic.data(), magic.size()) == static_cast<ssize_t>(magic.size()) &&
        magic == kMagic) {
      return absl::OkStatus();
    }
  }
  return absl::AlreadyExistsError(absl::StrCat(path, " is there and is no plan file"));
}

absl::Status Damaged(const std::string& path, absl::string_view how) {
  return absl::DataLossError(absl::StrCat(path, " is damaged: ", how));
}

absl::Status CheckOwner(const std::string& path, const MappedFile::Info& info,
                        uint32_t model_owner) {
  if (info.others_may_write) {
    return absl::PermissionDeniedError(absl::StrCat(path, " can be written by anybody"));
  }
  if (info.owner != 0 && info.owner != geteuid() && info.owner != model_owner) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, " belongs to user ", info.owner, ", not to us or the model's owner"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WritePlanFile(const std::string& path, const std::vector<PlanPartContents>& parts) {
  BITMILL_RETURN_IF_ERROR(CheckReplaceable(path));
  static constexpr std::array<char, kPageBytes> kZeros{};
  std::vector<Entry> table;
  std::vector<absl::string_view> pieces(2);  // header and table come last
  uint64_t offset = sizeof(Header) + parts.size() * sizeof(Entry);
  for (const PlanPartContents& part : parts) {
    const uint64_t start = NextPage(offset);
    pieces.emplace_back(kZeros.data(), start - offset);
    Entry entry{static_cast<uint32_t>(part.part), 0, start, 0, 0};
    Hasher hasher;
    for (const absl::string_view piece : part.pieces) {
      hasher.Add(piece.data(), piece.size());
      entry.bytes += piece.size();
      pieces.push_back(piece);
    }
    entry.hash = hasher.Finish();
    offset = start + entry.bytes;
    table.push_back(entry);
  }
  Header header;
  header.file_bytes = offset;
  header.parts = static_cast<uint32_t>(table.size());
  header.hash = HashOfTable(header, table);
  pieces[0] = {reinterpret_cast<const char*>(&header), sizeof(header)};
  pieces[1] = {reinterpret_cast<const char*>(table.data()), table.size() * sizeof(Entry)};
  return WriteFileAtomically(path, pieces);
}

std::optional<absl::string_view> PieceOf(absl::string_view whole, uint64_t offset, uint64_t bytes,
                                         uint64_t boundary) {
  if (offset % boundary != 0 || offset > whole.size() || bytes > whole.size() - offset) {
    return std::nullopt;
  }
  return whole.substr(offset, bytes);
}

absl::StatusOr<PlanFile> PlanFile::Open(const std::string& path, uint32_t model_owner) {
  PlanFile plan;
  BITMILL_ASSIGN_OR_RETURN(plan.file_, MappedFile::Open(path));
  BITMILL_RETURN_IF_ERROR(CheckOwner(path, plan.file_->info(), model_owner));
  const absl::string_view bytes(reinterpret_cast<const char*>(plan.file_->bytes().data()),
                                plan.file_->bytes().size());
  Header header;
  if (bytes.size() < sizeof(header)) return Damaged(path, "it has no header");
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != kMagic) return Damaged(path, "it does not begin as a plan file");
  if (header.byte_order != kByteOrder || header.format != kFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " has format ", header.format, " or another byte order, not ", kFormat));
  }
  if (header.file_bytes != bytes.size()) {
    return Damaged(
        path, absl::StrCat("it should have ", header.file_bytes, " bytes, not ", bytes.size()));
  }
  if (header.parts > kMaxParts || sizeof(header) + header.parts * sizeof(Entry) > bytes.size()) {
    return Damaged(path, "its table is cut off");
  }
  std::vector<Entry> table(header.parts);
  if (!table.empty()) {
    std::memcpy(table.data(), bytes.data() + sizeof(header), table.size() * sizeof(Entry));
  }
  if (HashOfTable(header, table) != header.hash) return Damaged(path, "its table has changed");
  for (const Entry& entry : table) {
    const auto piece = PieceOf(bytes, entry.offset, entry.bytes, kPageBytes);
    if (!piece.has_value()) {
      return Damaged(path, absl::StrCat("part ", entry.part, " lies outside"));
    }
    plan.parts_[static_cast<PlanPart>(entry.part)] = {*piece, entry.hash};
  }
  return plan;
}

absl::StatusOr<absl::string_view> PlanFile::Part(PlanPart part) const {
  const auto found = parts_.find(part);
  if (found == parts_.end()) {
    return absl::DataLossError(absl::StrCat("part ", static_cast<uint32_t>(part), " is missing"));
  }
  const absl::string_view bytes = found->second.bytes;
  if (HashBytes(bytes.data(), bytes.size()) != found->second.hash) {
    return absl::DataLossError(absl::StrCat("part ", static_cast<uint32_t>(part), " has changed"));
  }
  return bytes;
}

}  // namespace bitmill
