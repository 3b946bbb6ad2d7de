#include "server/analysis/quality/largest_score.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

LargestScore Find(const std::vector<float>& scores) {
  return FindLargestScore(reinterpret_cast<const std::byte*>(scores.data()),
                          static_cast<int64_t>(scores.size()));
}

// In double precision, one after the other.
double Softmax(const std::vector<float>& scores) {
  const double largest = *std::ranges::max_element(scores);
  double total = 0;
  for (const double score : scores) total += std::exp(score - largest);
  return 1 / total;
}

constexpr size_t kCounts[] = {2, 3, 4, 5, 7, 10, 63, 64, 65, 100, 127, 128, 1000, 1001};

TEST(LargestScoreTest, AgreesWithSoftmaxInDoubles) {
  std::mt19937 random(7);
  for (const size_t count : kCounts) {
    for (const float spread : {0.1F, 1.0F, 5.0F, 40.0F, 300.0F}) {
      std::normal_distribution<float> draw(3, spread);
      std::vector<float> scores(count);
      std::ranges::generate(scores, [&] { return draw(random); });
      const LargestScore found = Find(scores);
      EXPECT_EQ(found.index, std::ranges::max_element(scores) - scores.begin());
      EXPECT_NEAR(found.share / Softmax(scores), 1, 1e-6) << count << " " << spread;
    }
  }
}

TEST(LargestScoreTest, TakesTheFirstOfEqualsWhereverItIs) {
  for (const size_t count : kCounts) {
    for (size_t first = 0; first < count; ++first) {
      std::vector<float> scores(count, -2);
      scores[first] = 5;
      scores.back() = 5;
      EXPECT_EQ(Find(scores).index, static_cast<int32_t>(first)) << count;
    }
  }
}

TEST(LargestScoreTest, TakesProbabilitiesAsTheyAre) {
  for (const size_t count : kCounts) {
    std::vector<float> scores(count, 0.25F / static_cast<float>(count - 1));
    scores[count / 2] = 0.75F;
    EXPECT_EQ(Find(scores).share, 0.75F) << count;
    scores[count - 1] += 0.01F;  // the sum is too large
    EXPECT_NEAR(Find(scores).share / Softmax(scores), 1, 1e-6) << count;
  }
  EXPECT_EQ(Find({0, 1.0005F, 0}).share, 1);
  EXPECT_NEAR(Find({-0.25F, 0.75F, 0.5F}).share, Softmax({-0.25F, 0.75F, 0.5F}), 1e-6);
}

TEST(LargestScoreTest, PassesOverWhatIsNoNumberAndHasNoShareThen) {
  for (const size_t count : kCounts) {
    for (size_t place = 0; place < count; ++place) {
      std::vector<float> scores(count, 1);
      scores[(place + 1) % count] = 2;
      scores[place] = kNan;
      const LargestScore found = Find(scores);
      EXPECT_EQ(found.index, static_cast<int32_t>((place + 1) % count)) << count;
      EXPECT_EQ(found.share, -1) << count;
    }
    EXPECT_EQ(Find(std::vector<float>(count, kNan)).index, -1);
  }
  EXPECT_EQ(Find({kNan, -kInfinity, -kInfinity}).index, 1);
  std::vector<float> probabilities(8, 0.125F);
  probabilities[3] = kNan;
  EXPECT_EQ(Find(probabilities).share, -1);
}

TEST(LargestScoreTest, LeavesTheShareWhereNobodyWantsIt) {
  const std::vector<float> scores = {1, 3, 2};
  const LargestScore found =
      FindLargestScore(reinterpret_cast<const std::byte*>(scores.data()), 3, ScoreShare::kLeave);
  EXPECT_EQ(found.index, 1);
  EXPECT_EQ(found.share, -1);
}

TEST(LargestScoreTest, ReadsInfiniteScores) {
  EXPECT_EQ(Find({1, kInfinity, 2}).index, 1);
  EXPECT_EQ(Find({1, kInfinity, 2}).share, -1);
  EXPECT_EQ(Find({-kInfinity, 3, -kInfinity}).index, 1);
  EXPECT_EQ(Find({-kInfinity, 3, -kInfinity}).share, 1);
  EXPECT_EQ(Find({-kInfinity, -kInfinity}).index, 0);
}

TEST(LargestScoreTest, ReadsFloatsOfAnyAlignment) {
  std::vector<std::byte> bytes(1 + 100 * sizeof(float));
  std::vector<float> scores(100, 0);
  scores[77] = 4;
  std::ranges::copy(std::as_bytes(std::span(scores)), bytes.begin() + 1);
  EXPECT_EQ(FindLargestScore(bytes.data() + 1, 100).index, 77);
  EXPECT_EQ(FindLargestScore(bytes.data() + 1, 100).share, Find(scores).share);
}

}  // namespace
}  // namespace bitmill
