// A file as read-only memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/file.h"

namespace bitmill {

// The bytes of a file, mapped: pages are shared with whoever else maps it, and are read when they
// are touched first. Whoever replaces the file must do so by renaming: one that is cut short in
// place takes its pages away from all readers.
class MappedFile {
 public:
  struct Info {
    FileStamp stamp;
    uint32_t owner = 0;             // user
    bool others_may_write = false;  // anybody
  };

  // Symbolic links are not followed. Errors as for ReadFile.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::Span<const std::byte> bytes() const { return {data_, size_}; }
  const Info& info() const { return info_; }

 private:
  MappedFile(const std::byte* data, size_t size, const Info& info)
      : data_(data), size_(size), info_(info) {}

  const std::byte* const data_;  // null for an empty file
  const size_t size_;
  const Info info_;
};

}  // namespace bitmill
