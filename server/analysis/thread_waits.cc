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
namespace {

// What is called hardly and mostly, of the time that a thread wants a CPU, and the least time that
// a thread runs between two readings to be compared with.
constexpr double kHardly = 0.25, kMostOfTheTime = 0.5;
constexpr int64_t kLeastRunNanos = 5'000'000;

}  // namespace

ThreadWaits::ThreadWaits(const std::string& filesystem_root)
    : folder_(filesystem_root + "/proc/self/task") {}

void ThreadWaits::Update(int64_t threads, absl::Span<char> buffer) {
  bool gone = false;
  const size_t reads = std::min(threads_.size(), kMaxReads);
  for (size_t i = 0; i < reads; ++i) {
    if (next_ >= threads_.size()) next_ = 0;
    Thread& thread = threads_[next_++];
    if (!Add(thread, buffer)) {
      thread.id = -1;
      thread.newly_run_ns = thread.newly_wait_ns = 0;
      gone = true;
    }
    // Once all had their turn, so that none is counted twice for the same time.
    if (next_ == threads_.size()) CountStarved(threads_);
  }
  if (!gone && threads >= 0 && threads == threads_when_listed_) return;
  threads_when_listed_ = threads;
  Relist(buffer);
}

bool ThreadWaits::Add(Thread& thread, absl::Span<char> buffer) {
  const std::optional<absl::string_view> text = thread.file.Read(buffer);
  const std::optional<ThreadSchedstat> now = text ? ParseThreadSchedstat(*text) : std::nullopt;
  if (!now) return false;
  thread.newly_run_ns = std::max<int64_t>(0, now->run_ns - thread.run_ns);
  thread.newly_wait_ns = std::max<int64_t>(0, now->wait_ns - thread.wait_ns);
  total_ns_ += thread.newly_wait_ns;
  thread.run_ns = now->run_ns;
  thread.wait_ns = now->wait_ns;
  return true;
}

void ThreadWaits::CountStarved(absl::Span<const Thread> threads) {
  const auto share = [](const Thread& thread) {
    const int64_t ready_ns = thread.newly_run_ns + thread.newly_wait_ns;
    return static_cast<double>(thread.newly_run_ns) /
           static_cast<double>(std::max<int64_t>(ready_ns, 1));
  };
  double best = 0;
  for (const Thread& thread : threads) {
    if (thread.newly_run_ns >= kLeastRunNanos) best = std::max(best, share(thread));
  }
  if (best < kMostOfTheTime) return;
  for (const Thread& thread : threads) {
    if (share(thread) >= kHardly * best) continue;
    const auto ready_ns = static_cast<double>(thread.newly_run_ns + thread.newly_wait_ns);
    starved_ns_ += static_cast<int64_t>(ready_ns * (best - share(thread)));
  }
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
    if (Add(thread, buffer)) {
      thread.newly_run_ns = thread.newly_wait_ns = 0;  // of its whole life
      listed.push_back(std::move(thread));
    }
  }
  threads_ = std::move(listed);
  readable_ = !threads_.empty();
}

}  // namespace bitmill
