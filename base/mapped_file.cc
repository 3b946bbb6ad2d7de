#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  // Without O_NONBLOCK a pipe of that name would keep us waiting.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return ErrnoToStatus(errno, "open", path);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  Info info;
  BITMILL_ASSIGN_OR_RETURN(info.stamp, StampOfOpenFile(fd, path));
  struct stat attributes {};
  if (fstat(fd, &attributes) != 0) return ErrnoToStatus(errno, "read", path);
  info.owner = attributes.st_uid;
  info.others_may_write = (attributes.st_mode & S_IWOTH) != 0;
  const auto size = static_cast<size_t>(info.stamp.bytes);
  if (size == 0) {
    return std::shared_ptr<const MappedFile>(new MappedFile(nullptr, 0, info));
  }
  void* const data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (data == MAP_FAILED) return ErrnoToStatus(errno, "map", path);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(static_cast<const std::byte*>(data), size, info));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace bitmill
