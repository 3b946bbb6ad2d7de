#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/hash.h"

namespace bitmill {

absl::Status ErrnoToStatus(int error, absl::string_view action, absl::string_view path) {
  const std::string message =
      absl::StrCat("cannot ", action, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    case EMFILE:
    case ENFILE:
    case ENOSPC:
    case ENOMEM:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoToStatus(errno, "open", path);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  struct stat info {};
  if (fstat(fd, &info) != 0) return ErrnoToStatus(errno, "read", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  if (info.st_size > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": ", info.st_size, " bytes, the limit is ", max_bytes));
  }
  std::string contents(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < contents.size()) {
    const ssize_t count = read(fd, contents.data() + done, contents.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoToStatus(errno, "read", path);
    if (count == 0) {
      return absl::InternalError(absl::StrCat(path, ": became shorter while it was read"));
    }
    done += static_cast<size_t>(count);
  }
  return contents;
}

namespace {

int64_t ToNanos(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + int64_t{time.tv_nsec};
}

int WriteAll(int fd, absl::string_view bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = write(fd, bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno != EINTR) return errno;
    if (count > 0) done += static_cast<size_t>(count);
  }
  return 0;
}

// A new file beside `path` that nobody else writes to; -1 with errno.
int CreateBeside(const std::string& path, uint32_t mode, std::string& name) {
  for (int tries = 0; tries < 100; ++tries) {
    // Processes in different containers share neither their numbers nor their start.
    const uint64_t now = static_cast<uint64_t>(SystemClock().Now());
    name = absl::StrCat(path, ".tmp.", getpid(), ".", absl::Hex(now));
    const int fd = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

}  // namespace

absl::StatusOr<FileStamp> StampOfOpenFile(int fd, const std::string& path) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return ErrnoToStatus(errno, "read", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  return FileStamp{info.st_dev, info.st_ino, info.st_size, ToNanos(info.st_mtim),
                   ToNanos(info.st_ctim)};
}

absl::StatusOr<FileStamp> StampOfFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return ErrnoToStatus(errno, "open", path);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  return StampOfOpenFile(fd, path);
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents) {
  return WriteFileAtomically(path, absl::MakeConstSpan(&contents, 1));
}

absl::Status WriteFileAtomically(const std::string& path,
                                 absl::Span<const absl::string_view> pieces, uint32_t mode) {
  std::string temporary;
  const int fd = CreateBeside(path, mode, temporary);
  if (fd < 0) return ErrnoToStatus(errno, "create", temporary);
  int error = 0;
  for (size_t i = 0; i < pieces.size() && error == 0; ++i) error = WriteAll(fd, pieces[i]);
  if (error == 0 && fsync(fd) != 0) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    unlink(temporary.c_str());
    return ErrnoToStatus(error, "write", path);
  }
  return absl::OkStatus();
}

absl::StatusOr<HashedFile> HashFile(const std::string& path) {
  constexpr size_t kPieceBytes = size_t{256} * 1024;  // stays in the second-level cache
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoToStatus(errno, "open", path);
  const absl::Cleanup close_fd = [fd] { close(fd); };
  absl::StatusOr<FileStamp> before = StampOfOpenFile(fd, path);
  if (!before.ok()) return before.status();
  std::string piece(kPieceBytes, '\0');
  Hasher hasher;
  while (true) {
    const ssize_t count = read(fd, piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoToStatus(errno, "read", path);
    if (count == 0) break;
    hasher.Add(piece.data(), static_cast<size_t>(count));
  }
  absl::StatusOr<FileStamp> after = StampOfOpenFile(fd, path);
  if (!after.ok()) return after.status();
  if (*before != *after) {
    return absl::UnavailableError(absl::StrCat(path, ": changed while it was read"));
  }
  return HashedFile{*after, hasher.Finish()};
}

}  // namespace bitmill
