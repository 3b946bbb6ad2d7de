#include "server/frontend/watch_list.h"

#include <utility>

namespace bitmill {

void WatchList::Notify() {
  MutexLock lock(&mutex_);
  if (closed_) return;
  for (WatchEntry* const entry : open_) entry->LookSoon();
}

void WatchList::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
}

size_t WatchList::size() const {
  MutexLock lock(&mutex_);
  return open_.size();
}

bool WatchList::Add(WatchEntry* entry) {
  MutexLock lock(&mutex_);
  return open_.size() < most_ && open_.insert(entry).second;
}

void WatchList::Remove(WatchEntry* entry) {
  MutexLock lock(&mutex_);
  open_.erase(entry);
}

WatchEntry::WatchEntry(WatchList& list, GenericCall& call, std::function<void()> look)
    : list_(list), call_(call), look_(std::move(look)), accepted_(list.Add(this)) {}

WatchEntry::~WatchEntry() { list_.Remove(this); }

void WatchEntry::LookSoon() {
  if (look_posted_.exchange(true)) return;
  // The call cannot end before the posted function has run, unless it is ending: then its loop's
  // thread waits for the lock to remove the entry.
  if (!call_.TryRef()) return;
  call_.loop().Post([this] {
    look_posted_ = false;
    look_();
    call_.Unref();
  });
}

}  // namespace bitmill
