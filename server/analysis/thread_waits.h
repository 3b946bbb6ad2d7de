// How long the threads of this process were ready to run and were not running, summed. The kernel
// tells it of each thread while it lives (/proc/self/task/*/schedstat) and of no process.
//
// The files are kept open, and the folder is listed only when the number of threads changed or one
// is gone: a call costs a read for each thread, and at most kMaxReads of them; with more threads
// they take turns. What a thread waited before it ended stays in the sum, but for what came after
// its last reading.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "base/pseudo_file.h"

namespace bitmill {

// Used by one thread.
class ThreadWaits {
 public:
  static constexpr size_t kMaxReads = 64;     // of one Update()
  static constexpr size_t kMaxThreads = 512;  // that are watched; each holds a descriptor

  explicit ThreadWaits(const std::string& filesystem_root);

  // `threads` is the number that /proc/self/stat tells; -1: not known, the folder is listed.
  void Update(int64_t threads, absl::Span<char> buffer);
  // Nanoseconds, of all threads since they began; -1: no thread's file can be read.
  int64_t total_ns() const { return readable_ ? total_ns_ : -1; }
  // Of that, what threads waited that hardly got a CPU while another one of this process had one
  // most of the time that it wanted it, beyond what that one waited: they are bound, or were put,
  // where others run.
  int64_t starved_ns() const { return readable_ ? starved_ns_ : -1; }
  size_t watched() const { return threads_.size(); }

 private:
  struct Thread {
    int64_t id = 0;
    PseudoFile file;
    int64_t run_ns = 0, wait_ns = 0;              // as last read
    int64_t newly_run_ns = 0, newly_wait_ns = 0;  // since the reading before
  };
  // False when it could not be read.
  bool Add(Thread& thread, absl::Span<char> buffer);
  std::vector<int64_t> ListIds() const;
  void CountStarved(absl::Span<const Thread> threads);
  void Relist(absl::Span<char> buffer);

  const std::string folder_;
  std::vector<Thread> threads_;  // by id
  size_t next_ = 0;              // whose turn it is
  int64_t threads_when_listed_ = -1;
  int64_t total_ns_ = 0, starved_ns_ = 0;
  bool readable_ = false;
};

}  // namespace bitmill
