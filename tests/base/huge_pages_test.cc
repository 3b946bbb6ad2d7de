#include "base/huge_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/aligned_buffer.h"

namespace bitmill::test {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;

TEST(HugePagesTest, MemoryIsZeroAndItsOwn) {
  for (const int64_t bytes : {int64_t{1}, int64_t{100}, kHugePageBytes - 1, kHugePageBytes,
                              kHugePageBytes + 1, 3 * kHugePageBytes + 77}) {
    const std::shared_ptr<std::byte> memory = AllocateInHugePages(bytes);
    const std::shared_ptr<std::byte> other = AllocateInHugePages(bytes);
    EXPECT_TRUE(std::all_of(memory.get(), memory.get() + bytes, [](std::byte value) {
      return value == std::byte{0};
    })) << bytes;
    std::memset(memory.get(), 7, static_cast<size_t>(bytes));
    EXPECT_EQ(other.get()[bytes - 1], std::byte{0}) << bytes;
  }
}

TEST(HugePagesTest, MemoryBeginsWithACacheLineOrAHugePage) {
  const auto address = [](int64_t bytes) {
    return reinterpret_cast<uintptr_t>(AllocateInHugePages(bytes).get());
  };
  EXPECT_EQ(address(0) % kCacheLineBytes, 0U);
  EXPECT_EQ(address(1000) % kCacheLineBytes, 0U);
  EXPECT_EQ(address(kHugePageBytes) % kHugePageBytes, 0U);
  EXPECT_EQ(address(5 * kHugePageBytes - 3) % kHugePageBytes, 0U);
}

}  // namespace
}  // namespace bitmill::test
