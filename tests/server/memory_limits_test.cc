#include "server/memory_limits.h"

#include "gtest/gtest.h"
#include "tests/server/analysis/fake_host.h"

namespace bitmill {
namespace {

TEST(HostMemoryTest, IsTheMachinesWithoutALimit) {
  const FakeHost host;
  host.Put("/proc/meminfo", "MemTotal:       16384 kB\nMemFree:        1 kB\n");
  EXPECT_EQ(HostMemoryBytes(host.root()), 16384 * 1024);
}

TEST(HostMemoryTest, IsTheLeastLimitOfTheGroupAndThoseAboveIt) {
  const FakeHost host;
  host.Put("/proc/meminfo", "MemTotal:       16384 kB\n");
  host.PutGroupV2("/a/b");
  host.Put("/cg/a/memory.max", "1000000\n");
  host.Put("/cg/a/b/memory.max", "max\n");
  EXPECT_EQ(HostMemoryBytes(host.root()), 1'000'000);
  host.Put("/cg/a/b/memory.max", "900000\n");
  EXPECT_EQ(HostMemoryBytes(host.root()), 900'000);
}

TEST(HostMemoryTest, OfVersion1AHugeNumberIsNoLimit) {
  const FakeHost host;
  host.Put("/proc/meminfo", "MemTotal:       16384 kB\n");
  host.PutGroupV1("/x");
  host.Put("/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(HostMemoryBytes(host.root()), 16384 * 1024);
  host.Put("/memory/x/memory.limit_in_bytes", "5000000\n");
  EXPECT_EQ(HostMemoryBytes(host.root()), 5'000'000);
}

TEST(HostMemoryTest, IsNotKnownWhereNothingCanBeRead) {
  const FakeHost host;
  EXPECT_EQ(HostMemoryBytes(host.root()), 0);
  host.Put("/proc/meminfo", "MemTotal: many kB\n");
  EXPECT_EQ(HostMemoryBytes(host.root()), 0);
}

}  // namespace
}  // namespace bitmill
