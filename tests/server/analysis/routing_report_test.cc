#include "server/analysis/routing_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bitmill {
namespace {

using testing::ElementsAre;

// What is said of the shares when the backends have computed so many batches since the load.
std::vector<double> Shares(RecentRoutes& routes, const std::vector<int64_t>& batches) {
  RoutingReport report;
  for (const int64_t count : batches) {
    report.backends.push_back({.backend = "b", .batches = count});
  }
  routes.Update(report);
  std::vector<double> shares;
  for (const RouteBackendReport& backend : report.backends) shares.push_back(backend.recent_share);
  return shares;
}

TEST(RecentRoutesTest, SharesAreOfTheLastTicks) {
  RecentRoutes routes(2);
  EXPECT_THAT(Shares(routes, {3, 1}), ElementsAre(0.75, 0.25));  // since the load
  EXPECT_THAT(Shares(routes, {4, 4}), ElementsAre(0.5, 0.5));
  // The batches of the last two ticks: 1 of 4 and 3 of 4, then 10.
  EXPECT_THAT(Shares(routes, {4, 14}), ElementsAre(1.0 / 14, 13.0 / 14));
  EXPECT_THAT(Shares(routes, {8, 24}), ElementsAre(4.0 / 24, 20.0 / 24));
}

TEST(RecentRoutesTest, WithoutBatchesThereAreNoShares) {
  RecentRoutes routes(1);
  EXPECT_THAT(Shares(routes, {0, 0}), ElementsAre(0, 0));
  EXPECT_THAT(Shares(routes, {0, 2}), ElementsAre(0, 1));
  EXPECT_THAT(Shares(routes, {0, 2}), ElementsAre(0, 0));
}

TEST(RecentRoutesTest, AnotherSetOfBackendsStartsAnew) {
  RecentRoutes routes(3);
  Shares(routes, {90, 10});
  EXPECT_THAT(Shares(routes, {1, 1, 2}), ElementsAre(0.25, 0.25, 0.5));
}

}  // namespace
}  // namespace bitmill
