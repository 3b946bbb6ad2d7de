#include "backends/parallel/row_shares.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace bitmill {
namespace {

using testing::ElementsAre;

// A batch costs so much, and each of its rows.
RouteTable Table(int64_t batch_ns, int64_t row_ns) {
  RouteTable table;
  table.rows = RouteSizes(64);
  for (const int64_t rows : table.rows) table.ns.push_back(batch_ns + rows * row_ns);
  return table;
}

std::vector<int64_t> Split(const RowShares& shares, int64_t rows) {
  std::vector<int64_t> counts(shares.parts());
  shares.Split(rows, absl::MakeSpan(counts));
  return counts;
}

TEST(RowSharesTest, SharesAreProportionalToMeasuredSpeed) {
  EXPECT_THAT(Split(RowShares({Table(0, 1000), Table(0, 1000)}), 64), ElementsAre(32, 32));
  EXPECT_THAT(Split(RowShares({Table(0, 1000), Table(0, 3000)}), 64), ElementsAre(48, 16));
  EXPECT_THAT(Split(RowShares({Table(0, 2000), Table(0, 1000), Table(0, 1000)}), 40),
              ElementsAre(8, 16, 16));
}

TEST(RowSharesTest, SmallBatchesStayWhereALaunchCostsLess) {
  const RowShares shares({Table(0, 1000), Table(20'000, 100)});
  EXPECT_THAT(Split(shares, 8), ElementsAre(8, 0));
  EXPECT_EQ(shares.Fastest(8), 0U);
  EXPECT_EQ(shares.Fastest(64), 1U);
  const std::vector<int64_t> large = Split(shares, 64);
  EXPECT_GE(large[0], 20);
  EXPECT_GE(large[1], 35);
}

TEST(RowSharesTest, EveryRowIsGivenOnce) {
  const RowShares shares({Table(500, 700), Table(9000, 300), Table(0, 4000)});
  for (int64_t rows = 1; rows <= 64; ++rows) {
    const std::vector<int64_t> counts = Split(shares, rows);
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), int64_t{0}), rows);
    for (const int64_t count : counts) EXPECT_GE(count, 0);
  }
}

TEST(RowSharesTest, PartThatBecomesSlowerGetsLess) {
  RowShares shares({Table(0, 1000), Table(0, 1000)});
  for (int i = 0; i < 60; ++i) shares.Observe(1, 32, 3 * 32'000);
  EXPECT_NEAR(shares.drift(1), 3.0, 0.01);
  EXPECT_THAT(Split(shares, 64), ElementsAre(48, 16));
  EXPECT_EQ(shares.Fastest(64), 0U);
}

}  // namespace
}  // namespace bitmill
