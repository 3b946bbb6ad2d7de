#include "base/pseudo_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/log.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxFileBytes = 4 << 20;
constexpr int kCallsUntilRetry = 64;

}  // namespace

std::optional<std::string> ReadPseudoFile(const std::string& path) {
  FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return std::nullopt;
  std::string contents;
  char buffer[4096];
  size_t count = 0;
  while (static_cast<int64_t>(contents.size()) < kMaxFileBytes &&
         (count = std::fread(buffer, 1, sizeof(buffer), file)) > 0) {
    contents.append(buffer, count);
  }
  std::fclose(file);
  return contents;
}

PseudoFile::PseudoFile(std::string path) : path_(std::move(path)) {}

PseudoFile::~PseudoFile() {
  if (fd_ >= 0) close(fd_);
}

PseudoFile::PseudoFile(PseudoFile&& other) noexcept { *this = std::move(other); }

PseudoFile& PseudoFile::operator=(PseudoFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(calls_until_retry_, other.calls_until_retry_);
  std::swap(logged_, other.logged_);
  return *this;
}

std::optional<absl::string_view> PseudoFile::Read(absl::Span<char> buffer) {
  if (path_.empty()) return std::nullopt;
  if (fd_ < 0) {
    if (calls_until_retry_ > 0) {
      --calls_until_retry_;
      return std::nullopt;
    }
    fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) return Fail(errno);
  }
  const ssize_t count = pread(fd_, buffer.data(), buffer.size(), 0);
  if (count < 0) return Fail(errno);
  return absl::string_view(buffer.data(), static_cast<size_t>(count));
}

std::optional<absl::string_view> PseudoFile::Fail(int error) {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  calls_until_retry_ = kCallsUntilRetry - 1;
  if (!logged_) LogDebug(absl::StrCat("cannot read ", path_, ": ", std::strerror(error)));
  logged_ = true;
  return std::nullopt;
}

std::optional<int64_t> ParseCount(absl::string_view text) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < 0) return std::nullopt;
  return value;
}

std::optional<int64_t> ParseOnlyCount(absl::string_view text) {
  if (!absl::ConsumeSuffix(&text, "\n")) return std::nullopt;
  return ParseCount(text);
}

std::optional<absl::string_view> FindLine(absl::string_view text, absl::string_view key) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos) return std::nullopt;
    absl::string_view line = text.substr(0, end);
    if (absl::ConsumePrefix(&line, key) && absl::ConsumePrefix(&line, " ")) return line;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

std::optional<int64_t> FindCount(absl::string_view text, absl::string_view key) {
  const std::optional<absl::string_view> line = FindLine(text, key);
  if (!line) return std::nullopt;
  return ParseCount(*line);
}

}  // namespace bitmill
