// The text files that the kernel makes up when they are read (/proc, /sys, control groups), and the
// numbers in them. They say that they have no bytes, so ReadFile() would see them as empty.
//
// What is read is judged as coming from a stranger: a line counts only when its end is there, a
// number only when it is one and not negative.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace bitmill {

// Opens, reads to the end (4 MiB at most) and closes.
std::optional<std::string> ReadPseudoFile(const std::string& path);

// One that is read again and again, and kept open for that: a read is then one system call and an
// open, which costs as much again, is saved. The text is what fits in the buffer of the first read:
// for files that the kernel writes as one record, all of it. A file that cannot be read is tried
// again at every 64th call; the first failure is logged, for debugging. Used by one thread.
class PseudoFile {
 public:
  PseudoFile() = default;  // none: cannot be read
  explicit PseudoFile(std::string path);
  ~PseudoFile();
  PseudoFile(PseudoFile&& other) noexcept;
  PseudoFile& operator=(PseudoFile&& other) noexcept;

  // A view into the buffer.
  std::optional<absl::string_view> Read(absl::Span<char> buffer);
  const std::string& path() const { return path_; }

 private:
  std::optional<absl::string_view> Fail(int error);

  std::string path_;
  int fd_ = -1;
  int calls_until_retry_ = 0;
  bool logged_ = false;
};

// "12": a decimal number from 0 to 2^63 - 1, blanks around it allowed.
std::optional<int64_t> ParseCount(absl::string_view text);
// The number of a file that holds just one: "4096\n".
std::optional<int64_t> ParseOnlyCount(absl::string_view text);
// The number behind `key` and a blank, in the first line that begins so.
std::optional<int64_t> FindCount(absl::string_view text, absl::string_view key);
// The rest of the first line that begins with `key` and a blank.
std::optional<absl::string_view> FindLine(absl::string_view text, absl::string_view key);

}  // namespace bitmill
