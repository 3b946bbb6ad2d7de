#include "server/analysis/thread_waits.h"

#include <dirent.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/analysis/proc_text.h"

namespace bitmill {

ThreadWaits::ThreadWaits(const std::string& filesystem_root)
    : folder_(filesystem_root + "/proc/self/task") {}

void ThreadWaits::Update(int64_t threads, absl::Span<char> buffer) {
  bool gone = false;
  const size_t reads = std::min(threads_.size(), kMaxReads);
  for (size_t i = 0; i < reads; ++i) {
    Thread& thread = threads_[next_++ % threads_.size()];
    if (Add(thread, buffer)) continue;
    thread.id = -1;
    gone = true;
  }
  if (!gone && threads >= 0 && threads == threads_when_listed_) return;
  threads_when_listed_ = threads;
  Relist(buffer);
}

bool ThreadWaits::Add(Thread& thread, absl::Span<char> buffer) {
  const std::optional<absl::string_view> text = thread.file.Read(buffer);
  const std::optional<int64_t> wait_ns = text ? ParseRunQueueWait(*text) : std::nullopt;
  if (!wait_ns) return false;
  total_ns_ += std::max<int64_t>(0, *wait_ns - thread.wait_ns);
  thread.wait_ns = *wait_ns;
  return true;
}

std::vector<int64_t> ThreadWaits::ListIds() const {
  std::vector<int64_t> ids;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(folder_.c_str()), closedir);
  if (folder == nullptr) return ids;
  while (ids.size() < kMaxThreads) {
    const dirent* entry = readdir(folder.get());
    if (entry == nullptr) break;
    const std::optional<int64_t> id = ParseCount(entry->d_name);
    if (id) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

void ThreadWaits::Relist(absl::Span<char> buffer) {
  std::vector<Thread> listed;
  size_t known = 0;  // threads_[0 .. known) are below the id that is looked at
  std::erase_if(threads_, [](const Thread& thread) { return thread.id < 0; });
  for (const int64_t id : ListIds()) {
    while (known < threads_.size() && threads_[known].id < id) ++known;
    if (known < threads_.size() && threads_[known].id == id) {
      listed.push_back(std::move(threads_[known++]));
      continue;
    }
    Thread thread{.id = id, .file = PseudoFile(absl::StrCat(folder_, "/", id, "/schedstat"))};
    if (Add(thread, buffer)) listed.push_back(std::move(thread));
  }
  threads_ = std::move(listed);
  readable_ = !threads_.empty();
}

}  // namespace bitmill
