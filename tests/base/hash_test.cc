#include "base/hash.h"

#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

std::string SomeBytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(i * 37 + i / 11);
  return bytes;
}

TEST(HashTest, PiecesDoNotMatter) {
  for (const size_t size : {0, 1, 63, 64, 65, 127, 128, 1000}) {
    const std::string bytes = SomeBytes(size);
    const uint64_t whole = HashBytes(bytes.data(), size);
    for (const size_t piece : {1, 3, 64, 100}) {
      Hasher hasher;
      for (size_t at = 0; at < size; at += piece) {
        hasher.Add(bytes.data() + at, std::min(piece, size - at));
      }
      EXPECT_EQ(hasher.Finish(), whole) << size << " in pieces of " << piece;
    }
  }
}

TEST(HashTest, EveryBitAndEveryLengthCounts) {
  const std::string bytes = SomeBytes(300);
  std::set<uint64_t> seen = {HashBytes(bytes.data(), bytes.size())};
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string other = bytes;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(seen.insert(HashBytes(other.data(), other.size())).second) << bit;
  }
  const std::string zeros(300, '\0');
  for (size_t size = 0; size <= zeros.size(); ++size) {
    EXPECT_TRUE(seen.insert(HashBytes(zeros.data(), size)).second) << size;
  }
}

// Weights of binary networks differ in their signs: two flipped signs of one lane must not cancel.
TEST(HashTest, TwoFlippedSignsDoNotCancel) {
  const std::string bytes = SomeBytes(1024);
  std::set<uint64_t> seen = {HashBytes(bytes.data(), bytes.size())};
  for (size_t a = 7; a < 256; a += 8) {
    for (size_t b = a + 64; b < bytes.size(); b += 64) {
      std::string other = bytes;
      for (const size_t at : {a, b}) other[at] = static_cast<char>(other[at] ^ 0x80);
      EXPECT_TRUE(seen.insert(HashBytes(other.data(), other.size())).second) << a << " " << b;
    }
  }
}

}  // namespace
}  // namespace bitmill
