#include "base/this_thread.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>

namespace bitmill {
namespace {

constexpr int kStepsBack = 5;

}  // namespace

void NameThisThread(absl::string_view name) {
  char text[16] = {};
  name.substr(0, sizeof(text) - 1).copy(text, sizeof(text) - 1);
  prctl(PR_SET_NAME, text, 0, 0, 0);
}

void WorkInBackground() {
  // Linux: 0 is the calling thread, not the process. -1 is also a valid level.
  errno = 0;
  const int level = getpriority(PRIO_PROCESS, 0);
  if (level == -1 && errno != 0) return;
  setpriority(PRIO_PROCESS, 0, level + kStepsBack);  // beyond 19 is 19
}

int ThisThreadNumber() {
  static std::atomic<int> next{0};
  thread_local const int number = next.fetch_add(1, std::memory_order_relaxed);
  return number;
}

}  // namespace bitmill
