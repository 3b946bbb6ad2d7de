// The emulation itself: products against plain sums, with the fragments filled as the manual's
// formulas say, element by element; copies and barriers.
#include "tests/kernels/cuda/warp_emulation.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace bitmill::cuda_emulation {
namespace {

constexpr int kLanes = 32;

struct Matrices {
  int depth;
  std::vector<int> a, b;  // a[16][depth], b[depth][8]
  int At(int row, int k) const { return a[static_cast<size_t>(row * depth + k)]; }
  int Of(int k, int column) const { return b[static_cast<size_t>(k * 8 + column)]; }
  int Sum(int row, int column) const {
    int sum = 0;
    for (int k = 0; k < depth; ++k) sum += At(row, k) * Of(k, column);
    return sum;
  }
};

Matrices Draw(int depth, int a_low, int a_high, int b_low, int b_high, std::mt19937& random) {
  std::uniform_int_distribution<int> of_a(a_low, a_high), of_b(b_low, b_high);
  Matrices m{depth, std::vector<int>(static_cast<size_t>(16 * depth)),
             std::vector<int>(static_cast<size_t>(8 * depth))};
  for (int& value : m.a) value = of_a(random);
  for (int& value : m.b) value = of_b(random);
  return m;
}

// The manual's formulas. b1: a_i, i in 0 .. 127, is row groupID for i < 32 or 64 <= i < 96, else
// groupID + 8, and column thread * 32 + (i & 31), from i = 64 on 128 more; b_i row
// thread * 32 + (i & 31), from i = 32 on 128 more, and column groupID. 8 bits: the same of 4 a
// register, with 16 more for the second half.
void Fragments(const Matrices& m, int lane, int bits, uint32_t* a, uint32_t* b) {
  const int per_register = 32 / bits, half = m.depth / 2;
  const int group = lane / 4, thread = lane % 4;
  const uint32_t mask = bits == 1 ? 1U : 255U;
  for (int i = 0; i < 4 * per_register; ++i) {
    const bool first = i < per_register || (i >= 2 * per_register && i < 3 * per_register);
    const int row = first ? group : group + 8;
    const int column = thread * per_register + i % per_register + (i < 2 * per_register ? 0 : half);
    a[i / per_register] |= (static_cast<uint32_t>(m.At(row, column)) & mask)
                           << (i % per_register * bits);
  }
  for (int i = 0; i < 2 * per_register; ++i) {
    const int row = thread * per_register + i % per_register + (i < per_register ? 0 : half);
    b[i / per_register] |= (static_cast<uint32_t>(m.Of(row, group)) & mask)
                           << (i % per_register * bits);
  }
}

void CheckProducts(const Matrices& m, bool bits) {
  int got[16][8] = {};
  RunGroup(0, 0, kLanes, 64, [&] {
    const int lane = Thread();
    uint32_t a[4] = {}, b[2] = {};
    Fragments(m, lane, bits ? 1 : 8, a, b);
    int c[4] = {lane, 1, 2, 3};  // accumulators go on from what they hold
    if (bits) {
      MmaBits(c, a, b);
    } else {
      MmaBytes(c, a, b);
    }
    Done();
    // c_i: row groupID for i < 2, else groupID + 8, column thread * 2 + (i & 1).
    for (int i = 0; i < 4; ++i) {
      got[lane / 4 + (i < 2 ? 0 : 8)][lane % 4 * 2 + (i & 1)] = c[i] - (i == 0 ? lane : i);
    }
  });
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      ASSERT_EQ(got[row][column], m.Sum(row, column)) << row << ", " << column;
    }
  }
}

TEST(WarpEmulationTest, ProductsOfBitsAreSumsOfAnds) {
  std::mt19937 random(3);
  for (int i = 0; i < 10; ++i) CheckProducts(Draw(256, 0, 1, 0, 1, random), true);
}

TEST(WarpEmulationTest, ProductsOfBytesAreUnsignedBySigned) {
  std::mt19937 random(4);
  for (int i = 0; i < 10; ++i) CheckProducts(Draw(32, 0, 255, -128, 127, random), false);
}

TEST(WarpEmulationTest, ShufflesExchangeBetweenLanes) {
  std::vector<uint32_t> got(64);
  RunGroup(0, 0, 64, 64, [&] {
    const auto at = static_cast<uint32_t>(Thread());
    got[at] = ShuffleXor(at, 2) * 100 + ShuffleXor(at, 1);
  });
  for (uint32_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], (i ^ 2) * 100 + (i ^ 1));
}

TEST(WarpEmulationTest, CopiesAreSeenOnceTheyWereWaitedForAndOutsideIsZero) {
  alignas(16) unsigned char from[16 * kLanes];
  std::memset(from, 7, sizeof(from));
  bool early = false, late = true;
  RunGroup(0, 0, kLanes, 1024, [&] {
    unsigned char* const first = Shared() + 16 * Thread();
    unsigned char* const second = first + 512;
    Copy(first, from + 16 * Thread(), 16, true);
    Commit();
    Copy(second, from + 16 * Thread(), 16, false);
    Commit();
    early = early || first[0] == 7;
    Wait(1);
    late = late && first[15] == 7 && second[0] == 0xa5;
    Wait(0);
    Sync();
    late = late && second[0] == 0 && second[15] == 0;
  });
  EXPECT_FALSE(early);
  EXPECT_TRUE(late);
}

TEST(WarpEmulationDeathTest, DisagreementStopsTheProgram) {
  EXPECT_DEATH(RunGroup(0, 0, kLanes, 64,
                        [] {
                          if (Thread() < 16) {
                            Sync();
                          } else {
                            ShuffleXor(1, 1);
                          }
                        }),
               "emulated group");
  EXPECT_DEATH(RunGroup(0, 0, kLanes, 64,
                        [] {
                          if (Thread() < 16) Sync();
                        }),
               "a thread ended while others wait");
}

// A product of a group over lines that lie in shared memory as the manual draws them: in units of
// 16 bytes, `units` a line; 8 lines one behind the other, unit u of line r of them in the place
// u ^ (r * units / 8). Without a swizzle 8 lines of one unit, then those of the next.
struct GroupLayout {
  int swizzle, units;
  int Place(int line, int byte) const {
    const int unit = byte / 16, r = line % 8;
    if (swizzle == 0) return line / 8 * 256 + unit * 128 + r * 16 + byte % 16;
    return (line / 8 * 8 + r) * units * 16 + (unit ^ (r * units / 8)) * 16 + byte % 16;
  }
  // The manual's bits: address, distances along K and from 8 lines to the next, swizzle.
  uint64_t Descriptor(int start) const {
    const uint64_t along_k = swizzle == 0 ? 128 : 16,
                   next_lines = swizzle == 0 ? 256 : 8 * 16 * units;
    return static_cast<uint64_t>(start >> 4) | along_k >> 4 << 16 | next_lines >> 4 << 32 |
           static_cast<uint64_t>(swizzle) << 62;
  }
};

constexpr int kGroupThreads = 128, kRowsOfA = 64;

// `half`: the product is of bytes 32 .. 63 of lines that are wider than one product.
void CheckGroupProduct(const GroupLayout& layout, int columns, bool bits, int half,
                       std::mt19937& random) {
  SCOPED_TRACE(testing::Message() << "swizzle " << layout.swizzle << ", half " << half);
  const int at_b = 16384;
  std::vector<uint8_t> a(kRowsOfA * 32), b(static_cast<size_t>(columns) * 32);
  for (uint8_t& byte : a) byte = static_cast<uint8_t>(random());
  for (uint8_t& byte : b) byte = static_cast<uint8_t>(random());
  std::vector<int> got(static_cast<size_t>(kRowsOfA * columns), -1);
  RunGroup(0, 0, kGroupThreads, 65536, [&] {
    const int thread = Thread(), lane = thread % kLanes, warp = thread / kLanes;
    for (size_t i = static_cast<size_t>(thread); i < a.size(); i += kGroupThreads) {
      Shared()[layout.Place(static_cast<int>(i / 32), static_cast<int>(i % 32) + half * 32)] = a[i];
    }
    for (size_t i = static_cast<size_t>(thread); i < b.size(); i += kGroupThreads) {
      const int place =
          layout.Place(static_cast<int>(i / 32), static_cast<int>(i % 32) + half * 32);
      Shared()[at_b + place] = b[i];
    }
    Stored();
    Publish();
    Sync();
    std::vector<int> c(static_cast<size_t>(columns) / 2, thread);
    Begin();
    GroupProduct(bits, columns, c.data(), layout.Descriptor(half * 32),
                 layout.Descriptor(at_b + half * 32));
    CommitProducts();
    WaitProducts(0);
    // d_i: row 16 warp + groupID, 8 more for i % 4 >= 2, column i / 4 * 8 + thread * 2 + (i & 1).
    for (size_t i = 0; i < c.size(); ++i) {
      const size_t row = static_cast<size_t>(16 * warp + lane / 4 + (i % 4 < 2 ? 0 : 8));
      const size_t column = i / 4 * 8 + static_cast<size_t>(lane % 4) * 2 + (i & 1);
      got[row * static_cast<size_t>(columns) + column] = c[i] - thread;
    }
  });
  for (int row = 0; row < kRowsOfA; ++row) {
    for (int column = 0; column < columns; ++column) {
      int sum = 0;
      for (int k = 0; k < 32; ++k) {
        const uint8_t of_a = a[static_cast<size_t>(row * 32 + k)];
        const uint8_t of_b = b[static_cast<size_t>(column * 32 + k)];
        for (int bit = 0; bit < 8 && bits; ++bit) sum += of_a >> bit & of_b >> bit & 1;
        if (!bits) sum += of_a * static_cast<int8_t>(of_b);
      }
      ASSERT_EQ(got[static_cast<size_t>(row * columns + column)], sum) << row << ", " << column;
    }
  }
}

TEST(GroupProductTest, OperandsLieAsTheirDescriptorsSay) {
  std::mt19937 random(5);
  for (const bool bits : {true, false}) {
    CheckGroupProduct({0, 2}, 64, bits, 0, random);
    CheckGroupProduct({1, 8}, 128, bits, 0, random);
    CheckGroupProduct({1, 8}, 8, bits, 1, random);
    CheckGroupProduct({2, 4}, 64, bits, 0, random);
    CheckGroupProduct({2, 4}, 128, bits, 1, random);
    CheckGroupProduct({3, 2}, 64, bits, 0, random);
  }
}

// What a kernel must do around a product; `mistake` leaves one of these out.
enum class Mistake { kNone, kNotPublished, kNotBegun, kChanged, kNotWaitedFor };
void MultiplyGroup(Mistake mistake) {
  RunGroup(0, 0, kGroupThreads, 16384, [&] {
    const GroupLayout layout{2, 4};
    int c[32] = {};
    Shared()[Thread()] = 1;
    Stored();
    if (mistake != Mistake::kNotPublished) Publish();
    Sync();
    if (mistake != Mistake::kNotBegun) Begin();
    GroupProduct(true, 64, c, layout.Descriptor(0), layout.Descriptor(4096));
    CommitProducts();
    if (mistake == Mistake::kChanged) Shared()[Thread()] = 2;
    if (mistake != Mistake::kNotWaitedFor) WaitProducts(0);
  });
}

TEST(GroupProductDeathTest, WhatADeviceWouldNotForgiveStopsTheProgram) {
  MultiplyGroup(Mistake::kNone);
  EXPECT_DEATH(MultiplyGroup(Mistake::kNotPublished), "not published");
  EXPECT_DEATH(MultiplyGroup(Mistake::kNotBegun), "nothing began");
  EXPECT_DEATH(MultiplyGroup(Mistake::kChanged), "operands changed");
  EXPECT_DEATH(MultiplyGroup(Mistake::kNotWaitedFor), "nobody waited");
}

}  // namespace
}  // namespace bitmill::cuda_emulation
