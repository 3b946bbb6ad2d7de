// Calls that stay open and look again whenever something may have changed.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <limits>
#include <unordered_set>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/frontend/generic_call.h"

namespace bitmill {

class WatchEntry;

// The watching calls of one kind. Outlives them. Thread-safe.
class WatchList {
 public:
  // No more than `most` watch at a time.
  explicit WatchList(size_t most = std::numeric_limits<size_t>::max()) : most_(most) {}

  // Something may have changed: every watcher looks again, on its own loop's thread. Changes that
  // come faster than that are seen in one look.
  void Notify();
  // Nothing is done on a Notify any more.
  void Close();
  size_t size() const;

 private:
  friend class WatchEntry;
  bool Add(WatchEntry* entry);
  void Remove(WatchEntry* entry);

  const size_t most_;
  mutable Mutex mutex_;
  std::unordered_set<WatchEntry*> open_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// A call's place in the list; a member of the call's handler.
class WatchEntry {
 public:
  // `look` is called on the call's loop's thread.
  WatchEntry(WatchList& list, GenericCall& call, std::function<void()> look);
  ~WatchEntry();
  WatchEntry(const WatchEntry&) = delete;
  WatchEntry& operator=(const WatchEntry&) = delete;

  // False: the list was full, and nothing will be called.
  bool accepted() const { return accepted_; }

 private:
  friend class WatchList;
  // Under the list's lock, which holds up the destructor.
  void LookSoon();

  WatchList& list_;
  GenericCall& call_;
  const std::function<void()> look_;
  std::atomic<bool> look_posted_{false};
  const bool accepted_;
};

}  // namespace bitmill
