#include "model/passes/thresholds.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace bitmill {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(SmallestFloatWhereTest, FindsThePointToTheLastBit) {
  for (const float point : {-3e38F, -1.0F, -1e-44F, 1e-45F, 0.1F, 127.5F, 3e38F}) {
    EXPECT_EQ(SmallestFloatWhere([&](float x) { return x >= point; }), point);
    EXPECT_EQ(SmallestFloatWhere([&](float x) { return x > point; }),
              std::nextafter(point, kInfinity));
  }
}

TEST(SmallestFloatWhereTest, TreatsBothZerosAlike) {
  const float zero = SmallestFloatWhere([](float x) { return x >= 0.0F; });
  EXPECT_EQ(zero, 0.0F);
  EXPECT_FALSE(std::signbit(zero));
}

TEST(SmallestFloatWhereTest, KnowsAlwaysAndNever) {
  EXPECT_EQ(SmallestFloatWhere([](float) { return true; }), -kInfinity);
  EXPECT_TRUE(std::isnan(SmallestFloatWhere([](float) { return false; })));
}

TEST(SmallestIntWhereTest, FindsThePointAndTheEnds) {
  for (int32_t point = -5; point <= 5; ++point) {
    const int32_t found = SmallestIntWhere(-4, 4, [&](int32_t x) { return x >= point; });
    if (point <= -4) {
      EXPECT_EQ(found, std::numeric_limits<int32_t>::min());
    } else if (point > 4) {
      EXPECT_EQ(found, std::numeric_limits<int32_t>::max());
    } else {
      EXPECT_EQ(found, point);
    }
  }
}

TEST(SmallestIntWhereTest, DoesNotOverflowOnTheWholeRange) {
  constexpr int32_t kBound = std::numeric_limits<int32_t>::max() - 1;
  EXPECT_EQ(SmallestIntWhere(-kBound, kBound, [](int32_t x) { return x >= 2000000000; }),
            2000000000);
}

TEST(CodeThresholdsTest, SaysWhereEachCodeBegins) {
  const auto code = [](float x) {
    return static_cast<int32_t>(std::nearbyint(std::min(std::max(x, 0.0F), 3.0F)));
  };
  const std::vector<float> thresholds = CodeThresholds(5, code);
  ASSERT_EQ(thresholds.size(), 4U);
  EXPECT_EQ(thresholds[0], std::nextafter(0.5F, 1.0F));  // 0.5 rounds to even
  EXPECT_EQ(thresholds[1], 1.5F);
  EXPECT_EQ(thresholds[2], std::nextafter(2.5F, 3.0F));
  EXPECT_TRUE(std::isnan(thresholds[3]));
}

}  // namespace
}  // namespace bitmill
