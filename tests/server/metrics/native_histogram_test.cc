#include "server/metrics/native_histogram.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

template <typename Buckets>
class NativeBucketsTest : public ::testing::Test {
 protected:
  static double Upper(int index) {
    return std::exp2(static_cast<double>(index) / Buckets::kPerOctave);
  }
  // The bucket by its definition: the smallest i with seconds <= 2^(i/2^schema).
  static int IndexByDefinition(int64_t ns) {
    const double seconds = static_cast<double>(ns) / 1e9;
    int index = static_cast<int>(std::floor(std::log2(seconds) * Buckets::kPerOctave)) - 1;
    while (seconds > Upper(index)) ++index;
    return index;
  }
};

using AllBuckets = ::testing::Types<RequestBuckets, StageBuckets, NativeBuckets<0, -10, 2>,
                                    NativeBuckets<3, -20, 8>>;
TYPED_TEST_SUITE(NativeBucketsTest, AllBuckets);

TYPED_TEST(NativeBucketsTest, EveryDurationFallsIntoItsBucket) {
  const double end = TestFixture::Upper(TypeParam::Index(TypeParam::kCount - 1));
  const auto longest = static_cast<int64_t>(end * 1e9);
  for (auto ns = static_cast<int64_t>(TypeParam::kZeroSeconds * 1e9) + 1; ns < longest;
       ns += 1 + ns / 997) {
    ASSERT_EQ(TypeParam::Index(TypeParam::Place(ns)), TestFixture::IndexByDefinition(ns))
        << ns << " ns";
  }
}

TYPED_TEST(NativeBucketsTest, BoundsBelongToTheBucketBelow) {
  const int octave = TypeParam::kPerOctave;
  EXPECT_EQ(TypeParam::Index(TypeParam::Place(1'000'000'000)), 0);
  EXPECT_EQ(TypeParam::Index(TypeParam::Place(1'000'000'001)), 1);
  EXPECT_EQ(TypeParam::Index(TypeParam::Place(2'000'000'000)), octave);
  EXPECT_EQ(TypeParam::Index(TypeParam::Place(500'000'000)), -octave);
  EXPECT_EQ(TypeParam::Index(TypeParam::Place(500'000'001)), 1 - octave);
}

TYPED_TEST(NativeBucketsTest, TheEndsCatchEverything) {
  const auto zero_ns = static_cast<int64_t>(TypeParam::kZeroSeconds * 1e9);
  EXPECT_EQ(TypeParam::Place(0), 0U);
  EXPECT_EQ(TypeParam::Place(-5), 0U);
  EXPECT_EQ(TypeParam::Place(zero_ns), 0U);
  EXPECT_EQ(TypeParam::Place(zero_ns + 1), 1U);
  EXPECT_EQ(TypeParam::Place(INT64_MAX), TypeParam::kCount - 1);
}

TEST(NativeBucketsWidthTest, IsAsPromised) {
  const auto width = [](int per_octave) { return std::exp2(1.0 / per_octave) - 1; };
  EXPECT_LT(width(RequestBuckets::kPerOctave), 0.045);
  EXPECT_LT(width(StageBuckets::kPerOctave), 0.19);
  EXPECT_EQ(RequestBuckets::Place(953), 0U);  // 2^-20 s is 953.67 ns
  EXPECT_EQ(RequestBuckets::Place(954), 1U);
  EXPECT_EQ(RequestBuckets::Place(256'000'000'000), RequestBuckets::kCount - 1);
  EXPECT_EQ(StageBuckets::Place(59), 0U);  // 2^-24 s is 59.6 ns
  EXPECT_EQ(StageBuckets::Place(60), 1U);
  EXPECT_EQ(StageBuckets::Place(64'000'000'000), StageBuckets::kCount - 1);
}

}  // namespace
}  // namespace bitmill
