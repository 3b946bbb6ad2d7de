// One operation at a time for each name; different names do not wait for one another.
#pragma once

#include <set>
#include <string>

#include "base/mutex.h"

namespace bitmill {

class BusyNames {
 public:
  // Holds the name while it lives.
  class Hold {
   public:
    Hold(BusyNames& names, const std::string& name) : names_(names), name_(name) {
      MutexLock lock(&names_.mutex_);
      while (!names_.busy_.insert(name_).second) names_.changed_.Wait(&names_.mutex_);
    }
    ~Hold() {
      if (!held_) return;
      MutexLock lock(&names_.mutex_);
      names_.busy_.erase(name_);
      names_.changed_.NotifyAll();
    }
    // Never waits: see held().
    struct Try {};
    Hold(BusyNames& names, const std::string& name, Try /*unused*/) : names_(names), name_(name) {
      MutexLock lock(&names_.mutex_);
      held_ = names_.busy_.insert(name_).second;
    }
    bool held() const { return held_; }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    BusyNames& names_;
    const std::string name_;
    bool held_ = true;
  };

 private:
  Mutex mutex_;
  CondVar changed_;
  std::set<std::string> busy_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
