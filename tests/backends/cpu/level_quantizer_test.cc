#include "backends/cpu/level_quantizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace bitmill {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<uint8_t> Codes(const LevelQuantizer& quantizer, const std::vector<float>& values) {
  // One byte off, as request memory may be.
  std::vector<std::byte> memory(values.size() * sizeof(float) + 1);
  std::memcpy(memory.data() + 1, values.data(), values.size() * sizeof(float));
  std::vector<uint8_t> codes(values.size());
  quantizer.Run(memory.data() + 1, sizeof(float), static_cast<int64_t>(values.size()),
                reinterpret_cast<std::byte*>(codes.data()), 1);
  return codes;
}

// Every threshold, its neighbours, and what is special.
std::vector<float> Probes(const std::vector<float>& levels, std::mt19937& random) {
  std::vector<float> probes = {0.0F, -0.0F, kInfinity, -kInfinity, kNan, 1e30F, -1e30F};
  for (const float t : levels) {
    probes.insert(probes.end(), {t, std::nextafter(t, kInfinity), std::nextafter(t, -kInfinity)});
  }
  std::normal_distribution<float> normal(0.0F, 100.0F);
  for (int i = 0; i < 300; ++i) probes.push_back(normal(random));
  return probes;
}

void ExpectDefinition(const std::vector<float>& levels, std::mt19937& random) {
  const LevelQuantizer quantizer(levels);
  const std::vector<float> probes = Probes(levels, random);
  const std::vector<uint8_t> codes = Codes(quantizer, probes);
  for (size_t i = 0; i < probes.size(); ++i) {
    const auto expected =
        std::count_if(levels.begin(), levels.end(), [&](float t) { return probes[i] >= t; });
    ASSERT_EQ(codes[i], expected) << probes[i];
  }
}

std::vector<float> Even(int count, float start, float step) {
  std::vector<float> levels;
  for (int i = 0; i < count; ++i) levels.push_back(start + static_cast<float>(i) * step);
  return levels;
}

TEST(LevelQuantizerTest, EvenLevelsNeedOneComparison) {
  std::mt19937 random(1);
  for (const int count : {9, 15, 254, 255}) {
    for (const float step : {1.0F, 1.02409637F, 0.00392156886F, 3e-7F}) {
      const std::vector<float> levels = Even(count, -2.5F, step);
      EXPECT_TRUE(LevelQuantizer(levels).exact_line() || step < 1e-6F) << count << " " << step;
      ASSERT_NO_FATAL_FAILURE(ExpectDefinition(levels, random));
    }
  }
}

TEST(LevelQuantizerTest, AnyLevelsGiveTheDefinition) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0.0F, 100.0F);
  for (const size_t count : {1, 2, 7, 8, 9, 30, 255}) {
    for (int round = 0; round < 20; ++round) {
      std::vector<float> levels(count);
      for (float& t : levels) t = normal(random);
      if (round % 3 == 0) levels[0] = levels[count / 2];  // equal thresholds
      std::sort(levels.begin(), levels.end());
      if (round % 4 == 1) levels.front() = -kInfinity;
      if (round % 4 == 2) levels.back() = kInfinity;
      if (round % 4 == 3) levels.back() = kNan;
      ASSERT_NO_FATAL_FAILURE(ExpectDefinition(levels, random));
    }
  }
}

TEST(LevelQuantizerTest, LevelsThatNothingReachesGiveZero) {
  std::mt19937 random(3);
  ExpectDefinition(std::vector<float>(20, kNan), random);
  ExpectDefinition(std::vector<float>(20, kInfinity), random);
  ExpectDefinition(std::vector<float>(20, -kInfinity), random);
  ExpectDefinition({}, random);
}

}  // namespace
}  // namespace bitmill
