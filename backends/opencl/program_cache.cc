#include "backends/opencl/program_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/byte_codec.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr absl::string_view kMagic = "bitmill program 1\n";
constexpr uint32_t kOwnerAlone = 0600;
constexpr mode_t kFolderMode = 0700;

struct Text {
  std::string text;
};

template <typename Codec>
void Fields(Codec& codec, Text& text) {
  codec(text.text);
}

// What follows the magic and the checksum.
struct ProgramFile {
  std::vector<Text> names, values;
  std::string binary;
};

template <typename Codec>
void Fields(Codec& codec, ProgramFile& file) {
  codec(file.names, file.values, file.binary);
}

ProgramFile FileOf(const ProgramKey& key) {
  ProgramFile file;
  for (const auto& [name, value] : key) {
    file.names.push_back({name});
    file.values.push_back({value});
  }
  return file;
}

bool HasKey(const ProgramFile& file, const ProgramKey& key) {
  if (file.names.size() != key.size() || file.values.size() != key.size()) return false;
  for (size_t i = 0; i < key.size(); ++i) {
    if (file.names[i].text != key[i].first || file.values[i].text != key[i].second) return false;
  }
  return true;
}

// Of us, and nobody else may write it. A folder may be a link, a file may not.
absl::Status CheckOwner(const std::string& path, int (*status_of)(const char*, struct stat*)) {
  struct stat info {};
  if (status_of(path.c_str(), &info) != 0) return ErrnoToStatus(errno, "open", path);
  if (info.st_uid != geteuid() || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, " could have been written by somebody else"));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ProgramCache::PathOf(const ProgramKey& key) const {
  Hasher hasher;
  for (const auto& [name, value] : key) {
    hasher.Add(name.data(), name.size() + 1);  // with the 0 that ends it
    hasher.Add(value.data(), value.size() + 1);
  }
  return absl::StrCat(folder_, "/opencl-", absl::Hex(hasher.Finish(), absl::kZeroPad16), ".bin");
}

absl::StatusOr<std::string> ProgramCache::Load(const ProgramKey& key) const {
  if (!enabled()) return absl::NotFoundError("programs are not kept");
  const std::string path = PathOf(key);
  BITMILL_RETURN_IF_ERROR(CheckOwner(folder_, stat));
  BITMILL_RETURN_IF_ERROR(CheckOwner(path, lstat));
  BITMILL_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> mapped, MappedFile::Open(path));
  const absl::string_view bytes(reinterpret_cast<const char*>(mapped->bytes().data()),
                                mapped->bytes().size());
  uint64_t hash = 0;
  if (bytes.size() < kMagic.size() + sizeof(hash) || bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError(absl::StrCat(path, " is no program file"));
  }
  std::memcpy(&hash, bytes.data() + kMagic.size(), sizeof(hash));
  const absl::string_view body = bytes.substr(kMagic.size() + sizeof(hash));
  ProgramFile file;
  PlainDecoder decoder(body);
  if (HashBytes(body.data(), body.size()) != hash) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: its checksum is another"));
  }
  decoder(file);
  if (!decoder.AtEnd()) return absl::DataLossError(absl::StrCat(path, " is damaged"));
  if (!HasKey(file, key)) return absl::NotFoundError(absl::StrCat(path, " has another key"));
  return std::move(file.binary);
}

absl::Status ProgramCache::Save(const ProgramKey& key, const std::string& binary) const {
  if (!enabled()) return absl::OkStatus();
  std::error_code ignored;  // writing says what is wrong
  std::filesystem::create_directories(std::filesystem::path(folder_).parent_path(), ignored);
  if (mkdir(folder_.c_str(), kFolderMode) != 0 && errno != EEXIST) {
    return ErrnoToStatus(errno, "create", folder_);
  }
  ProgramFile file = FileOf(key);
  file.binary = binary;
  PlainEncoder encoder;
  encoder(file);
  const std::string& body = encoder.bytes();
  const uint64_t hash = HashBytes(body.data(), body.size());
  const absl::string_view checksum(reinterpret_cast<const char*>(&hash), sizeof(hash));
  return WriteFileAtomically(PathOf(key), std::array<absl::string_view, 3>{kMagic, checksum, body},
                             kOwnerAlone);
}

}  // namespace bitmill
