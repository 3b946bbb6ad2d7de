#include "backends/batch_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <numeric>
#include <thread>
#include <vector>

#include "tests/backends/cpu/allocation_hook.h"
#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

constexpr int64_t kMicro = 1000, kMilli = 1'000'000, kSecond = 1'000'000'000;
constexpr size_t kCpu = 0, kGpu = 1;

// `fixed` and so much more each row, for batches of up to 64 rows.
RouteTable Line(const char* backend, int64_t fixed, int64_t row) {
  RouteTable table{.backend = backend, .rows = RouteSizes(64), .ns = {}, .measured = 7};
  for (const int64_t rows : table.rows) table.ns.push_back(fixed + row * rows);
  return table;
}

int64_t Sent(const RouteReport::Backend& backend) {
  return std::accumulate(backend.batches.begin(), backend.batches.end(), int64_t{0});
}

class BatchRouterTest : public testing::Test {
 protected:
  std::unique_ptr<BatchRouter> NewRouter(const RouteTable& cpu, const RouteTable& gpu) {
    return std::make_unique<BatchRouter>(std::vector<RouteTable>{cpu, gpu}, loads_, clock_);
  }

  // Where a batch goes that runs until the end of the test.
  size_t Start(BatchRouter& router, int64_t rows = 1) {
    RoutedBatch& batch = started_.emplace_back();
    router.Route(rows, batch);
    return batch.backend;
  }

  // One batch at a time for so long, each of them taking what `took` says of its backend; how many
  // went to each. Adds up to `spent` what they took.
  template <typename Took>
  std::array<int64_t, 2> RunFor(BatchRouter& router, int64_t ns, const Took& took,
                                int64_t* spent = nullptr) {
    std::array<int64_t, 2> sent{};
    for (const MonotonicNanos end = clock_.Now() + ns; clock_.Now() < end;) {
      RoutedBatch batch;
      router.Route(1, batch);
      ++sent[batch.backend];
      clock_.Advance(took(batch.backend));
      if (spent != nullptr) *spent += took(batch.backend);
      router.Finish(batch);
    }
    return sent;
  }

  FakeClock clock_;
  std::shared_ptr<BackendLoads> loads_ = std::make_shared<BackendLoads>(std::vector<int>{1, 1});
  std::deque<RoutedBatch> started_;  // stays where it is
};

TEST_F(BatchRouterTest, BatchGoesWhereItTakesTheLeastTime) {
  const auto router =
      NewRouter(Line("cpu", 0, 100 * kMicro), Line("gpu", 1000 * kMicro, 10 * kMicro));
  for (const auto& [rows, wanted] : std::vector<std::pair<int64_t, size_t>>{
           {1, kCpu}, {8, kCpu}, {11, kCpu}, {12, kGpu}, {16, kGpu}, {64, kGpu}, {1, kCpu}}) {
    RoutedBatch batch;
    router->Route(rows, batch);
    EXPECT_EQ(batch.backend, wanted) << rows;
    EXPECT_EQ(batch.reason, RouteReason::kFastest) << rows;
    clock_.Advance(batch.run_ns);
    router->Finish(batch);
  }
}

TEST_F(BatchRouterTest, BatchGoesElsewhereWhenItWouldFinishEarlierThere) {
  const auto router = NewRouter(Line("cpu", 250 * kMicro, 0), Line("gpu", 100 * kMicro, 0));
  EXPECT_EQ(Start(*router), kGpu);  // after 100
  EXPECT_EQ(Start(*router), kGpu);  // after 200
  EXPECT_EQ(Start(*router), kCpu);  // after 250; 300 there
  EXPECT_EQ(started_.back().reason, RouteReason::kQueue);
  EXPECT_EQ(Start(*router), kGpu);  // after 300; 500 on the CPU
  EXPECT_EQ(loads_->running(kGpu), 3);
  EXPECT_EQ(loads_->running(kCpu), 1);
}

TEST_F(BatchRouterTest, BatchGoesWhereItTakesTheLeastEnergyIfThatIsPreferred) {
  const auto router = NewRouter(Line("cpu", 200 * kMicro, 0), Line("gpu", 100 * kMicro, 0));
  router->PreferEnergy({10, 40});  // 2 mJ against 4 mJ
  EXPECT_EQ(Start(*router), kCpu);
  EXPECT_EQ(started_.back().reason, RouteReason::kEnergy);
  // 400 us there are within four times the 100 us; behind that it would be too late.
  EXPECT_EQ(Start(*router), kCpu);
  EXPECT_EQ(Start(*router), kGpu);
  EXPECT_EQ(started_.back().reason, RouteReason::kFastest);
}

TEST_F(BatchRouterTest, EnergyThatIsNotKnownOfABackendIsNoPreference) {
  const auto router = NewRouter(Line("cpu", 200 * kMicro, 0), Line("gpu", 100 * kMicro, 0));
  router->PreferEnergy({10, 40});
  router->PreferEnergy({10, 0});
  EXPECT_EQ(Start(*router), kGpu);
}

// 100 ms instead of a microsecond is 100,000 times as long.
TEST_F(BatchRouterTest, BatchLeavesAFastBackendThatBecameVerySlow) {
  const auto router = NewRouter(Line("cpu", 5 * kMilli, 0), Line("gpu", 1 * kMicro, 0));
  const auto took = [](size_t backend) { return backend == kGpu ? 100 * kMilli : 5 * kMilli; };
  RunFor(*router, 2 * kSecond, took);
  const std::array<int64_t, 2> sent = RunFor(*router, 10 * kSecond, took);
  EXPECT_LE(sent[kGpu], sent[kCpu] / 30);  // probes
}

TEST_F(BatchRouterTest, WorkThatIsDoneIsNotWaitedFor) {
  const auto router = NewRouter(Line("cpu", 250 * kMicro, 0), Line("gpu", 100 * kMicro, 0));
  Start(*router);
  Start(*router);
  clock_.Advance(60 * kMicro);
  EXPECT_EQ(Start(*router), kGpu);  // 40 + 100 + 100
  clock_.Advance(40 * kMicro);
  router->Finish(started_[0]);
  clock_.Advance(100 * kMicro);
  router->Finish(started_[1]);
  EXPECT_EQ(Start(*router), kGpu);
  EXPECT_EQ(started_.back().finish_ns, 200 * kMicro);
}

TEST_F(BatchRouterTest, LanesComputeBatchesSideBySide) {
  loads_ = std::make_shared<BackendLoads>(std::vector<int>{2, 1});
  const auto router = NewRouter(Line("cpu", 100 * kMicro, 0), Line("gpu", 140 * kMicro, 0));
  EXPECT_EQ(Start(*router), kCpu);
  EXPECT_EQ(Start(*router), kCpu);
  EXPECT_EQ(Start(*router), kGpu);  // 100 + 100 on the CPU
}

TEST_F(BatchRouterTest, ModelsWaitForEachOther) {
  const auto one = NewRouter(Line("cpu", 900 * kMicro, 0), Line("gpu", 500 * kMicro, 0));
  const auto other = NewRouter(Line("cpu", 90 * kMicro, 0), Line("gpu", 50 * kMicro, 0));
  EXPECT_EQ(Start(*other), kGpu);
  other->Finish(started_.back());
  EXPECT_EQ(Start(*one), kGpu);
  EXPECT_EQ(Start(*other), kCpu);
}

TEST_F(BatchRouterTest, BatchesLeaveADeviceThatSlowsDown) {
  const auto router = NewRouter(Line("cpu", 4 * kMilli, 0), Line("gpu", kMilli, 0));
  const auto before =
      RunFor(*router, kSecond, [](size_t b) { return b == kGpu ? kMilli : 4 * kMilli; });
  EXPECT_EQ(before[kCpu], 0);
  // From now on every batch there would finish later.
  const auto sent =
      RunFor(*router, 2 * kSecond, [](size_t b) { return b == kGpu ? 10 * kMilli : 4 * kMilli; });
  EXPECT_GE(sent[kCpu], 0.95 * static_cast<double>(sent[kCpu] + sent[kGpu]))
      << sent[kCpu] << " and " << sent[kGpu];
  const RouteReport report = router->Report();
  EXPECT_GT(report.backends[kGpu].batches[static_cast<size_t>(RouteReason::kProbe)], 0);
  EXPECT_GE(report.backends[kCpu].batches[static_cast<size_t>(RouteReason::kDrift)],
            sent[kCpu] - 1);  // the first may have been a probe
}

TEST_F(BatchRouterTest, DeviceThatRecoversGetsItsBatchesBack) {
  const auto router = NewRouter(Line("cpu", 4 * kMilli, 0), Line("gpu", kMilli, 0));
  RunFor(*router, 2 * kSecond, [](size_t b) { return b == kGpu ? 10 * kMilli : 4 * kMilli; });
  const auto took = [](size_t b) { return b == kGpu ? kMilli : 4 * kMilli; };
  RunFor(*router, kSecond, took);
  const auto sent = RunFor(*router, kSecond, took);
  EXPECT_EQ(sent[kCpu], 0);
}

TEST_F(BatchRouterTest, CpuThatSlowsDownLeavesToTheDevice) {
  const auto router = NewRouter(Line("cpu", kMilli, 0), Line("gpu", 3 * kMilli, 0));
  const auto sent =
      RunFor(*router, 2 * kSecond, [](size_t b) { return b == kGpu ? 3 * kMilli : 10 * kMilli; });
  EXPECT_GE(sent[kGpu], 0.95 * static_cast<double>(sent[kCpu] + sent[kGpu]));
}

TEST_F(BatchRouterTest, OneBatchThatWasHeldUpChangesNothing) {
  const auto router = NewRouter(Line("cpu", 2 * kMilli, 0), Line("gpu", kMilli, 0));
  Start(*router);
  clock_.Advance(8 * kMilli);
  router->Finish(started_.back());
  EXPECT_EQ(Start(*router), kGpu);
}

TEST_F(BatchRouterTest, NothingFollowsABatchThatIsOverdue) {
  loads_ = std::make_shared<BackendLoads>(std::vector<int>{8, 1});
  const auto router = NewRouter(Line("cpu", 20 * kMilli, 0), Line("gpu", kMilli, 0));
  EXPECT_EQ(Start(*router), kGpu);
  EXPECT_EQ(Start(*router), kGpu);
  clock_.Advance(30 * kMilli);  // it hangs, and says nothing
  for (int i = 0; i < 200; ++i) {
    RoutedBatch batch;
    router->Route(1, batch);
    ASSERT_EQ(batch.backend, kCpu) << i;
    clock_.Advance(20 * kMilli);
    router->Finish(batch);
  }
  EXPECT_EQ(loads_->running(kGpu), 2);
}

TEST_F(BatchRouterTest, ProbesCostAHundredthOfTheTimeAtMost) {
  // Half as fast again as measured it would be the better one.
  const auto router = NewRouter(Line("cpu", kMilli, 0), Line("gpu", 2 * kMilli - 1, 0));
  int64_t spent = 0;
  const auto sent = RunFor(
      *router, 10 * kSecond, [](size_t b) { return b == kGpu ? 2 * kMilli : kMilli; }, &spent);
  EXPECT_GT(sent[kGpu], 10);
  EXPECT_LE(sent[kGpu], 20);
  EXPECT_LE(static_cast<double>(sent[kGpu]), 0.01 * static_cast<double>(spent) / kMilli);
}

TEST_F(BatchRouterTest, ProbesOfALargeDetourAreRarer) {
  const auto router = NewRouter(Line("cpu", 100 * kMilli, 0), Line("gpu", 50 * kMilli, 0));
  int64_t spent = 0;
  const auto took = [](size_t b) { return b == kGpu ? kSecond : 100 * kMilli; };
  RunFor(*router, 20 * kSecond, took);
  const auto sent = RunFor(*router, 1000 * kSecond, took, &spent);
  EXPECT_GE(sent[kGpu], 5);
  EXPECT_LE(sent[kGpu], 12);  // each costs 0.9 s
}

TEST_F(BatchRouterTest, RareBatchesAreRarelyProbes) {
  const auto router = NewRouter(Line("cpu", 2 * kMilli, 0), Line("gpu", kMilli, 0));
  RunFor(*router, kSecond, [](size_t b) { return b == kGpu ? 10 * kMilli : 2 * kMilli; });
  int64_t probes = 0;
  for (int i = 0; i < 320; ++i) {
    clock_.Advance(kSecond);
    RoutedBatch batch;
    router->Route(1, batch);
    probes += batch.backend == kGpu ? 1 : 0;
    clock_.Advance(batch.backend == kGpu ? 10 * kMilli : 2 * kMilli);
    router->Finish(batch);
  }
  EXPECT_GE(probes, 8);
  EXPECT_LE(probes, 10);
}

TEST_F(BatchRouterTest, BackendThatCouldNotWinIsNotProbed) {
  const auto router = NewRouter(Line("cpu", kMilli, 0), Line("gpu", 3 * kMilli, 0));
  const auto sent =
      RunFor(*router, 10 * kSecond, [](size_t b) { return b == kGpu ? 3 * kMilli : kMilli; });
  EXPECT_EQ(sent[kGpu], 0);
}

TEST_F(BatchRouterTest, BackendThatHasFailedGetsNothingMore) {
  const auto router = NewRouter(Line("cpu", 4 * kMilli, 0), Line("gpu", kMilli, 0));
  EXPECT_EQ(Start(*router), kGpu);
  EXPECT_EQ(Start(*router), kGpu);
  EXPECT_TRUE(router->Fail(started_[0]));
  EXPECT_FALSE(router->Fail(started_[1]));
  EXPECT_EQ(loads_->running(kGpu), 0);
  const auto sent = RunFor(*router, 10 * kSecond, [](size_t) { return 40 * kMilli; });
  EXPECT_EQ(sent[kGpu], 0);
  const RouteReport report = router->Report();
  EXPECT_TRUE(report.backends[kGpu].failed);
  EXPECT_EQ(report.backends[kCpu].batches[static_cast<size_t>(RouteReason::kLast)], sent[kCpu]);
}

TEST_F(BatchRouterTest, BatchesThatWereNotComputedTeachNothing) {
  const auto router = NewRouter(Line("cpu", 4 * kMilli, 0), Line("gpu", kMilli, 0));
  for (int i = 0; i < 20; ++i) {
    RoutedBatch batch;
    router->Route(1, batch);
    EXPECT_EQ(batch.backend, kGpu);
    clock_.Advance(100 * kMilli);
    router->Drop(batch);
  }
  EXPECT_EQ(router->Report().backends[kGpu].drift, 1.0);
}

TEST_F(BatchRouterTest, ReportSaysWhereABatchOfEachSizeWouldGoAndWhy) {
  const auto router =
      NewRouter(Line("cpu", 0, 100 * kMicro), Line("gpu", 1000 * kMicro, 10 * kMicro));
  const auto choices = [&] {
    std::map<int64_t, std::pair<size_t, RouteReason>> found;
    for (const RouteReport::Choice& choice : router->Report().choices) {
      found[choice.rows] = {choice.backend, choice.reason};
    }
    return found;
  };
  using Pair = std::pair<size_t, RouteReason>;
  EXPECT_EQ(choices().at(8), Pair(kCpu, RouteReason::kFastest));
  EXPECT_EQ(choices().at(16), Pair(kGpu, RouteReason::kFastest));
  EXPECT_EQ(choices().size(), router->Report().backends[kCpu].table.rows.size());
  // It is asked, not routed.
  EXPECT_EQ(Sent(router->Report().backends[kCpu]) + Sent(router->Report().backends[kGpu]), 0);

  // Busy for 1.64 ms: the CPU is earlier with 16 rows.
  EXPECT_EQ(Start(*router, 64), kGpu);
  EXPECT_EQ(choices().at(16), Pair(kCpu, RouteReason::kQueue));
  EXPECT_EQ(router->Report().backends[kGpu].wait_ns, 1640 * kMicro);
  EXPECT_EQ(router->Report().backends[kCpu].wait_ns, 0);

  // It took 16 times as long: the mean of the logarithms says twice.
  clock_.Advance(16 * 1640 * kMicro);
  router->Finish(started_.back());
  const RouteReport slower = router->Report();
  EXPECT_EQ(choices().at(16), Pair(kCpu, RouteReason::kDrift));
  EXPECT_EQ(choices().at(64), Pair(kGpu, RouteReason::kFastest));
  EXPECT_NEAR(static_cast<double>(slower.backends[kGpu].run_ns.front()), 2 * 1010 * kMicro, kMicro);
  EXPECT_EQ(slower.backends[kCpu].run_ns, slower.backends[kCpu].table.ns);
}

TEST_F(BatchRouterTest, RoutingAllocatesNothing) {
  if (!CountsAllocations()) GTEST_SKIP() << "a sanitizer has its own allocator";
  const auto router = NewRouter(Line("cpu", 4 * kMilli, 0), Line("gpu", kMilli, 0));
  const int64_t before = ThreadAllocations();
  RunFor(*router, kSecond, [](size_t) { return kMilli; });
  EXPECT_EQ(ThreadAllocations(), before);
}

TEST(BatchRouterThreadsTest, EveryBatchIsCountedOnceAndLeaves) {
  constexpr int kThreads = 4, kBatches = 2000;
  const SystemClock clock{};
  const auto loads = std::make_shared<BackendLoads>(std::vector<int>{2, 1});
  const std::vector<RouteTable> tables = {Line("cpu", 3 * kMicro, kMicro),
                                          Line("gpu", 2 * kMicro, kMicro)};
  BatchRouter one(tables, loads, clock), other(tables, loads, clock);
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kBatches; ++i) {
        BatchRouter& router = (i + t) % 2 == 0 ? one : other;
        RoutedBatch batch;
        router.Route(1 + i % 64, batch);
        if (i % 64 == 0) {
          router.Drop(batch);
        } else if (batch.backend == kGpu && &router == &other && i > kBatches / 2) {
          failures += router.Fail(batch) ? 1 : 0;
        } else {
          router.Finish(batch);
        }
        if (i % 100 == 0) static_cast<void>(router.Report());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(loads->running(kCpu), 0);
  EXPECT_EQ(loads->running(kGpu), 0);
  EXPECT_LE(failures.load(), 1);
  int64_t sent = 0;
  for (const BatchRouter* const router : {&one, &other}) {
    for (const auto& backend : router->Report().backends) sent += Sent(backend);
  }
  EXPECT_EQ(sent, int64_t{kThreads} * kBatches);
}

}  // namespace
}  // namespace bitmill
