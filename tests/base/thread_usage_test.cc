#include "base/thread_usage.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <thread>

#include "base/clock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

// Until the thread's own clock has gone on by that much.
void Work(int64_t cpu_ns) {
  const int64_t until = ThreadCpuNanos() + cpu_ns;
  while (ThreadCpuNanos() < until) {
  }
}

TEST(ThreadUsageTest, CountsTheCpuTimeOfThisThread) {
  const int64_t cpu_begin = ThreadCpuNanos();
  const ThreadUsage begin = ThreadUsageNow();
  Work(20'000'000);
  const ThreadUsage used = ThreadUsageNow() - begin;
  const int64_t cpu_ns = ThreadCpuNanos() - cpu_begin;
  EXPECT_GE(used.cpu_ns, 19'000'000);
  // While it stays on its CPU the wall clock is taken, which counts interrupts too.
  EXPECT_LE(used.cpu_ns, cpu_ns * 5 / 4);
  EXPECT_GE(used.run_queue_wait_ns, 0);
}

TEST(ThreadUsageTest, AWaitIsCountedAndIsNoCpuTime) {
  constexpr int kRounds = 20;
  int ask[2], answer[2];
  ASSERT_EQ(pipe(ask), 0);
  ASSERT_EQ(pipe(answer), 0);
  std::thread worker([&] {
    char byte = 0;
    while (read(ask[0], &byte, 1) == 1) {
      Work(2'000'000);
      if (write(answer[1], &byte, 1) != 1) return;
    }
  });
  const ThreadUsage begin = ThreadUsageNow();
  for (int round = 0; round < kRounds; ++round) {
    char byte = 0;
    ASSERT_EQ(write(ask[1], &byte, 1), 1);
    ASSERT_EQ(read(answer[0], &byte, 1), 1);
  }
  const ThreadUsage used = ThreadUsageNow() - begin;
  close(ask[1]);
  worker.join();
  for (const int fd : {ask[0], answer[0], answer[1]}) close(fd);
  EXPECT_GE(used.blocked, 1);
  EXPECT_LT(used.cpu_ns, 20'000'000);  // of at least 40 ms
}

TEST(ThreadUsageTest, CountsTheFaultsOfTouchedPages) {
  constexpr int64_t kPages = 64;
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = kPages * page_bytes;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  const ThreadUsage begin = ThreadUsageNow();
  for (size_t at = 0; at < bytes; at += page_bytes) static_cast<volatile char*>(memory)[at] = 1;
  const ThreadUsage used = ThreadUsageNow() - begin;
  munmap(memory, bytes);
  EXPECT_GE(used.minor_faults, kPages);
  EXPECT_GE(used.major_faults, 0);
}

TEST(ThreadUsageTest, EachThreadHasItsOwn) {
  Work(20'000'000);
  ThreadUsage other;
  std::thread([&other] { other = ThreadUsageNow(); }).join();
  EXPECT_GE(ThreadUsageNow().cpu_ns, 20'000'000);
  EXPECT_LT(other.cpu_ns, 20'000'000);
}

TEST(ThreadUsageTest, WhatIsNotKnownOnOneSideIsNotKnown) {
  const ThreadUsage end{.cpu_ns = 10, .run_queue_wait_ns = -1, .blocked = 4};
  const ThreadUsage begin{.cpu_ns = 3, .run_queue_wait_ns = 5, .blocked = -1};
  EXPECT_EQ((end - begin).cpu_ns, 7);
  EXPECT_EQ((end - begin).run_queue_wait_ns, -1);
  EXPECT_EQ((end - begin).blocked, -1);
}

}  // namespace
}  // namespace bitmill
