// Which taps of a window lie where, against counting them.
#include "model/ops/window.h"

#include <gtest/gtest.h>

namespace bitmill {
namespace {

TEST(WindowTest, TapsWithinAreThoseOneWouldCount) {
  for (int64_t origin = -7; origin <= 7; ++origin) {
    for (int64_t dilation = 1; dilation <= 3; ++dilation) {
      for (int64_t taps = 1; taps <= 5; ++taps) {
        for (int64_t from = -3; from <= 2; ++from) {
          for (int64_t to = from; to <= 6; ++to) {
            int64_t count = 0, first = 0;
            for (int64_t k = 0; k < taps; ++k) {
              const int64_t at = origin + k * dilation;
              if (at < from || at >= to) continue;
              if (count++ == 0) first = k;
            }
            const TapRange range = TapsWithin(origin, taps, dilation, from, to);
            ASSERT_EQ(range.count(), count)
                << origin << " " << dilation << " " << taps << " " << from << " " << to;
            if (count == 0) continue;
            ASSERT_EQ(range.first, first) << origin << " " << dilation;
          }
        }
      }
    }
  }
}

TEST(WindowTest, TapsOfHugeWindowsAreFoundAtOnce) {
  constexpr int64_t kHuge = int64_t{1} << 40;
  EXPECT_EQ(TapsWithin(-kHuge, 2 * kHuge, 1, 0, 5), (TapRange{kHuge, kHuge + 5}));
  EXPECT_EQ(TapsWithin(0, kHuge, kHuge, 0, 1), (TapRange{0, 1}));
}

TEST(WindowTest, TapsInsideAreThoseOfTheImage) {
  SlidingWindow window;
  window.input = {1, 5};
  window.output = {1, 5};
  window.kernel = {1, 3};
  window.pad_begin = {0, 1};
  EXPECT_EQ(TapsInside(window, 1, 0), (TapRange{1, 3}));
  EXPECT_EQ(TapsInside(window, 1, 2), (TapRange{0, 3}));
  EXPECT_EQ(TapsInside(window, 1, 4), (TapRange{0, 2}));
  EXPECT_EQ(TapsInside(window, 0, 0), (TapRange{0, 1}));
}

}  // namespace
}  // namespace bitmill
