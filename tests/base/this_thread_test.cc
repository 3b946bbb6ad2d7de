#include "base/this_thread.h"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

std::string NameNow() {
  std::array<char, 16> name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  return name.data();
}

TEST(ThisThreadTest, ALongNameIsCut) {
  std::thread([] {
    NameThisThread("io");
    EXPECT_EQ(NameNow(), "io");
    NameThisThread("a name of more than fifteen bytes");
    EXPECT_EQ(NameNow(), "a name of more ");
  }).join();
}

TEST(ThisThreadTest, BackgroundWorkStepsBackAloneAndNoFurtherThanTheLast) {
  const int before = getpriority(PRIO_PROCESS, 0);
  std::thread([before] {
    WorkInBackground();
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), std::min(before + 5, 19));
    WorkInBackground();
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), std::min(before + 10, 19));
  }).join();
  EXPECT_EQ(getpriority(PRIO_PROCESS, 0), before);
}

}  // namespace
}  // namespace bitmill
