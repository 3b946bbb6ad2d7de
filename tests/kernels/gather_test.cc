// Every gathering kernel against the definition.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "kernels/gather/gather_table.h"
#include "tests/kernels/guarded.h"

namespace bitmill::test {
namespace {

bool BitOf(const std::vector<uint64_t>& words, size_t bit) {
  return (words[bit / 64] >> (bit % 64) & 1) != 0;
}

void ExpectAllKernelsRight(int32_t words, int32_t pixels, int percent, uint32_t seed) {
  static GuardedRegion regions[3];
  std::mt19937_64 random(seed);
  const int64_t src_pixel = words + 1;
  std::vector<uint64_t> src(static_cast<size_t>(src_pixel * pixels - 1));
  for (uint64_t& word : src) word = random();
  std::vector<uint64_t> masks(static_cast<size_t>(words));
  std::vector<size_t> selected;
  masks[static_cast<size_t>(words - 1)] = 1;  // at least one
  for (size_t bit = 0; bit < masks.size() * 64; ++bit) {
    if (static_cast<int>(random() % 100) < percent) masks[bit / 64] |= uint64_t{1} << (bit % 64);
    if (BitOf(masks, bit)) selected.push_back(bit);
  }
  const size_t out_words = (selected.size() + 63) / 64;
  std::vector<uint64_t> expected(out_words * static_cast<size_t>(pixels));
  for (size_t p = 0; p < static_cast<size_t>(pixels); ++p) {
    for (size_t i = 0; i < selected.size(); ++i) {
      const uint64_t bit = BitOf(src, p * static_cast<size_t>(src_pixel) * 64 + selected[i]);
      expected[p * out_words + i / 64] |= bit << (i % 64);
    }
  }
  int count = 0;
  const GatherKernel* kernels = GatherKernels(&count);
  for (int k = 0; k < count; ++k) {
    if (!IsaAllows(BestIsa(), kernels[k].isa)) continue;
    for (const Flush flush : {Flush::kFront, Flush::kBack}) {
      GatherArgs args = {};
      args.src = regions[0].PlaceCopy(src, flush);
      args.src_pixel = src_pixel;
      args.pixels = pixels;
      args.words = words;
      args.masks = regions[1].PlaceCopy(masks, flush);
      uint64_t* const dst = regions[2].Place<uint64_t>(expected.size(), flush);
      args.dst = dst;
      args.dst_pixel = static_cast<int64_t>(out_words);
      kernels[k].run(args);
      ASSERT_EQ(std::vector<uint64_t>(dst, dst + expected.size()), expected)
          << kernels[k].name << ", " << words << " words, " << percent << " %, seed " << seed;
    }
  }
}

TEST(GatherTest, IsRightForAllDensities) {
  uint32_t seed = 0;
  for (int32_t words = 1; words <= 9; ++words) {
    for (const int percent : {0, 1, 10, 25, 50, 75, 99, 100}) {
      for (int round = 0; round < 20; ++round) {
        ASSERT_NO_FATAL_FAILURE(ExpectAllKernelsRight(words, 1 + round % 4, percent, ++seed));
      }
    }
  }
}

TEST(GatherTableTest, SelectsTheBestAllowed) {
  EXPECT_STREQ(SelectGather(Isa::kRef).name, "gather_ref");
  int count = 0;
  const GatherKernel* kernels = GatherKernels(&count);
  for (int i = 0; i < count; ++i) {
    EXPECT_STREQ(SelectGather(kernels[i].isa).name, kernels[i].name);
  }
}

}  // namespace
}  // namespace bitmill::test
