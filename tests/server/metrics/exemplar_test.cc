#include "server/metrics/exemplar.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

TEST(ExemplarSlotTest, HoldsTheNewest) {
  ExemplarSlot slot;
  EXPECT_FALSE(slot.Load().has_value());
  slot.Store({.trace = {1, 2}, .value = 3, .unix_millis = 4});
  slot.Store({.trace = {0xab, 0x12}, .value = 30, .unix_millis = 40});
  const std::optional<Exemplar> exemplar = slot.Load();
  ASSERT_TRUE(exemplar.has_value());
  EXPECT_EQ(exemplar->trace.Hex(), "00000000000000ab0000000000000012");
  EXPECT_EQ(exemplar->value, 30);
  EXPECT_EQ(exemplar->unix_millis, 40);
}

TEST(ExemplarSlotTest, IsNeverAMixtureOfTwo) {
  ExemplarSlot slot;
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (uint64_t t = 1; t <= 3; ++t) {
    writers.emplace_back([&slot, &stop, t] {
      for (uint64_t i = t; !stop; i += 3) {
        slot.Store({.trace = {i, i},
                    .value = static_cast<int64_t>(i),
                    .unix_millis = static_cast<int64_t>(i)});
      }
    });
  }
  int seen = 0;
  while (seen < 2'000) {
    const std::optional<Exemplar> exemplar = slot.Load();
    if (!exemplar.has_value()) continue;
    ++seen;
    ASSERT_EQ(exemplar->trace.high, exemplar->trace.low);
    ASSERT_EQ(static_cast<uint64_t>(exemplar->value), exemplar->trace.low);
    ASSERT_EQ(exemplar->unix_millis, exemplar->value);
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
}

}  // namespace
}  // namespace bitmill
