#include "server/analysis/quality/answer_memory.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

Prediction Class(int32_t index) { return {.index = index, .score = 0.5F}; }

TEST(AnswerMemoryTest, FindsAnAnswerByItsIdAndRow) {
  AnswerMemory memory({});
  memory.Remember(0, AnswerKeyOfId("a", 0), 0, Class(1));
  memory.Remember(0, AnswerKeyOfId("a", 1), 0, Class(2));
  EXPECT_EQ(memory.Take(1, AnswerKeyOfId("a", 1))->index, 2);
  EXPECT_EQ(memory.Take(1, AnswerKeyOfId("a", 0))->index, 1);
  EXPECT_FALSE(memory.Take(1, AnswerKeyOfId("a", 2)));
  EXPECT_FALSE(memory.Take(1, AnswerKeyOfId("b", 0)));
}

TEST(AnswerMemoryTest, FindsAnAnswerByItsInput) {
  AnswerMemory memory({});
  const std::string one(3000, 'x'), other(3000, 'y');
  memory.Remember(0, 0, AnswerKeyOfInput(one.data(), 3000), Class(4));
  EXPECT_FALSE(memory.Take(0, AnswerKeyOfInput(other.data(), 3000)));
  EXPECT_FALSE(memory.Take(0, AnswerKeyOfInput(one.data(), 2999)));
  EXPECT_EQ(memory.Take(0, AnswerKeyOfInput(one.data(), 3000))->index, 4);
}

TEST(AnswerMemoryTest, AnIdAndAnInputOfTheSameBytesDiffer) {
  const std::string id = "12345678", row(8, '\0');
  EXPECT_NE(AnswerKeyOfId(id, 0), AnswerKeyOfInput((id + row).data(), 16));
}

TEST(AnswerMemoryTest, ALongRowIsToldApartByItsEndsAndByPiecesInBetween) {
  std::string row(100'000, '\0');
  const uint64_t key = AnswerKeyOfInput(row.data(), 100'000);
  for (const size_t place : {size_t{0}, size_t{63}, size_t{99'999}, size_t{1587}}) {
    row[place] = 1;
    EXPECT_NE(AnswerKeyOfInput(row.data(), 100'000), key) << place;
    row[place] = 0;
  }
  EXPECT_NE(AnswerKeyOfInput(row.data(), 99'999), key);
}

TEST(AnswerMemoryTest, ARowIsTakenOnceWhicheverKeyComesFirst) {
  AnswerMemory memory({});
  memory.Remember(0, 7, 9, Class(1));
  EXPECT_TRUE(memory.Take(0, 7));
  EXPECT_FALSE(memory.Take(0, 7));
  EXPECT_FALSE(memory.Take(0, 9));
  memory.Remember(0, 17, 19, Class(2));
  EXPECT_TRUE(memory.Take(0, 19));
  EXPECT_FALSE(memory.Take(0, 19));
  EXPECT_FALSE(memory.Take(0, 17));
}

TEST(AnswerMemoryTest, KnowsTheNewestOfEachKeyAmongTheLastOnes) {
  AnswerMemory memory({.max_bytes = 0});
  const auto entries = static_cast<size_t>(memory.capacity() / 16);  // keys below are in one shard
  struct Kept {
    uint64_t key;
    int32_t index;
    bool taken;
  };
  std::deque<Kept> kept;  // newest first
  std::mt19937 random(5);
  int found = 0;
  for (int32_t i = 0; i < 50'000; ++i) {
    const uint64_t key = std::min(random() % 40, random() % 40) + 1;  // some much more often
    if (random() % 4 != 0) {
      memory.Remember(0, key, 0, Class(i));
      kept.push_front({key, i, false});
      if (kept.size() > entries) kept.pop_back();
      continue;
    }
    const auto newest =
        std::ranges::find_if(kept, [key](const Kept& one) { return one.key == key; });
    const std::optional<Prediction> taken = memory.Take(0, key);
    ASSERT_EQ(taken.has_value(), newest != kept.end() && !newest->taken) << i;
    if (!taken) continue;
    ASSERT_EQ(taken->index, newest->index) << i;
    newest->taken = true;
    ++found;
  }
  EXPECT_GT(found, 1000);
}

TEST(AnswerMemoryTest, RowsOfTheSameInputAreTakenEachByItsId) {
  AnswerMemory memory({});
  memory.Remember(0, 7, 9, Class(1));
  memory.Remember(0, 8, 9, Class(2));
  EXPECT_EQ(memory.Take(0, 9)->index, 2);  // the newest
  EXPECT_FALSE(memory.Take(0, 8));
  EXPECT_EQ(memory.Take(0, 7)->index, 1);
}

TEST(AnswerMemoryTest, RowsWithTwoKeysAreRememberedToHalfTheCapacity) {
  AnswerMemory memory({.max_bytes = 1'000'000});
  const int64_t count = memory.capacity() * 3, known = memory.capacity() / 4;
  for (int64_t i = 0; i < count; ++i) {
    memory.Remember(0, AnswerKeyOfId("r", i), AnswerKeyOfInput(&i, sizeof i),
                    Class(static_cast<int32_t>(i)));
  }
  for (int64_t i = count - known; i < count; ++i) {
    const bool by_id = i % 2 == 0;
    const uint64_t keys[] = {AnswerKeyOfId("r", i), AnswerKeyOfInput(&i, sizeof i)};
    const auto answer = memory.Take(0, keys[by_id ? 0 : 1]);
    ASSERT_TRUE(answer) << i;
    EXPECT_EQ(answer->index, static_cast<int32_t>(i));
    EXPECT_FALSE(memory.Take(0, keys[by_id ? 1 : 0])) << i;
  }
}

TEST(AnswerMemoryTest, TheNewestAnswerOfAKeyCounts) {
  AnswerMemory memory({});
  memory.Remember(0, 7, 0, Class(1));
  memory.Remember(1, 7, 0, Class(2));
  EXPECT_EQ(memory.Take(2, 7)->index, 2);
  EXPECT_FALSE(memory.Take(2, 7));
}

TEST(AnswerMemoryTest, ForgetsWhatIsTooOld) {
  AnswerMemory memory({.max_bytes = 1 << 20, .max_age_ns = 5 * kSecond});
  memory.Remember(0, 7, 0, Class(1));
  memory.Remember(0, 8, 0, Class(1));
  EXPECT_TRUE(memory.Take(5 * kSecond, 7));
  EXPECT_FALSE(memory.Take(5 * kSecond + 1, 8));
}

TEST(AnswerMemoryTest, StaysWithinItsBytesAndDropsTheOldest) {
  for (const int64_t bytes : {int64_t{1} << 16, int64_t{1'000'000}, int64_t{1} << 22}) {
    AnswerMemory memory({.max_bytes = bytes});
    EXPECT_LE(memory.bytes(), bytes);
    EXPECT_GT(memory.bytes(), bytes * 8 / 10);
    const int64_t count = memory.capacity() * 3;
    for (int64_t i = 0; i < count; ++i) {
      memory.Remember(0, AnswerKeyOfId("r", i), 0, Class(static_cast<int32_t>(i)));
    }
    // Shards fill unevenly; the newest half of the capacity is there for certain.
    int64_t found = 0;
    for (int64_t i = count - memory.capacity() / 2; i < count; ++i) {
      const auto answer = memory.Take(0, AnswerKeyOfId("r", i));
      ASSERT_TRUE(answer) << i;
      EXPECT_EQ(answer->index, static_cast<int32_t>(i));
      ++found;
    }
    for (int64_t i = 0; i < count - memory.capacity() / 2; ++i) {
      found += memory.Take(0, AnswerKeyOfId("r", i)) ? 1 : 0;
    }
    EXPECT_EQ(found, memory.capacity());
  }
}

TEST(AnswerMemoryTest, LabelsThatComeAtOnceByBothKeysCountOnce) {
  AnswerMemory memory({});
  constexpr int64_t kRows = 20'000;
  for (int64_t i = 0; i < kRows; ++i) {
    memory.Remember(0, AnswerKeyOfId("r", i), AnswerKeyOfInput(&i, sizeof i), Class(1));
  }
  int64_t by_id = 0, by_input = 0;
  std::thread other([&] {
    for (int64_t i = 0; i < kRows; ++i) by_id += memory.Take(0, AnswerKeyOfId("r", i)) ? 1 : 0;
  });
  for (int64_t i = 0; i < kRows; ++i) {
    by_input += memory.Take(0, AnswerKeyOfInput(&i, sizeof i)) ? 1 : 0;
  }
  other.join();
  EXPECT_EQ(by_id + by_input, kRows);
}

TEST(AnswerMemoryTest, ThreadsMayUseItAtOnce) {
  AnswerMemory memory({.max_bytes = 1 << 16});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&memory, t] {
      const std::string id = "thread" + std::to_string(t);
      for (int i = 0; i < 5000; ++i) {
        memory.Remember(0, AnswerKeyOfId(id, i), 0, Class(i));
        const auto answer = memory.Take(0, AnswerKeyOfId(id, i));
        // Others may have pushed it out already.
        EXPECT_TRUE(!answer || answer->index == i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace bitmill
