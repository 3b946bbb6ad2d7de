#include "server/analysis/quality/shadow.h"

#include <atomic>
#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/analysis/quality/shadow_guards.h"
#include "tests/server/analysis/quality/expected.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

TEST(WilsonIntervalTest, AgreesWithSciPy) {
  const auto shares = ExpectedValues<int64_t>("share");
  const auto intervals = ExpectedValues<double>("interval");
  ASSERT_EQ(shares.size(), 12U);
  for (size_t i = 0; i < shares.size(); i += 2) {
    const Interval interval = WilsonInterval(shares[i], shares[i + 1]);
    EXPECT_NEAR(interval.low, intervals[i], 1e-9) << i;
    EXPECT_NEAR(interval.high, intervals[i + 1], 1e-9) << i;
  }
  EXPECT_EQ(WilsonInterval(0, 0).low, 0);
  EXPECT_EQ(WilsonInterval(0, 0).high, 1);
}

TEST(QuantileOfTest, IsTheValueAtItsRank) {
  EXPECT_EQ(QuantileOf({}, 0.99), 0);
  EXPECT_EQ(QuantileOf({5}, 0.99), 5);
  EXPECT_EQ(QuantileOf({4, 1, 3, 2}, 0.5), 2);
  EXPECT_EQ(QuantileOf({4, 1, 3, 2}, 0.51), 3);
  EXPECT_EQ(QuantileOf({4, 1, 3, 2}, 1), 4);
}

// What passes all guards; each case of the table breaks one.
ShadowCounts GoodCounts() {
  ShadowCounts counts;
  counts.version = 2;
  counts.requests = 1000;
  counts.failed = 5;
  counts.compared = counts.agreed = 1000;
  counts.live_ns.assign(200, 1'000'000);
  counts.shadow_ns.assign(200, 1'900'000);
  return counts;
}

TEST(CheckGuardsTest, NamesTheGuardThatDoesNotHold) {
  struct Case {
    const char* guard;  // nullptr: all hold
    std::function<void(ShadowCounts&, AccuracyPair&)> change;
  };
  const Case cases[] = {
      {nullptr, [](ShadowCounts&, AccuracyPair&) {}},
      {"promote_min_compared", [](ShadowCounts& c, AccuracyPair&) { c.compared = c.agreed = 199; }},
      {nullptr, [](ShadowCounts& c, AccuracyPair&) { c.compared = c.agreed = 200; }},
      // 0.95 alone does not do: the lower end of its interval is less.
      {"promote_min_agreement", [](ShadowCounts& c, AccuracyPair&) { c.agreed = 950; }},
      {"promote_min_agreement", [](ShadowCounts& c, AccuracyPair&) { c.agreed = 960; }},
      {nullptr, [](ShadowCounts& c, AccuracyPair&) { c.agreed = 970; }},
      {"promote_max_error_share", [](ShadowCounts& c, AccuracyPair&) { c.failed = 11; }},
      {nullptr, [](ShadowCounts& c, AccuracyPair&) { c.failed = 10; }},
      {"promote_max_accuracy_drop",
       [](ShadowCounts&, AccuracyPair& a) {
         a = {200, 200, 0.95, 0.93};
       }},
      {nullptr,
       [](ShadowCounts&, AccuracyPair& a) {
         a = {200, 200, 0.95, 0.945};
       }},
      {nullptr,
       [](ShadowCounts&, AccuracyPair& a) {
         a = {200, 200, 0.90, 0.95};
       }},
      {nullptr,
       [](ShadowCounts&, AccuracyPair& a) {
         a = {200, 99, 0.95, 0.50};
       }},
      {"promote_max_latency_ratio",
       [](ShadowCounts& c, AccuracyPair&) { c.shadow_ns.assign(200, 2'100'000); }},
      {nullptr,
       [](ShadowCounts& c, AccuracyPair&) {
         c.live_ns.assign(99, 1'000'000);
         c.shadow_ns.assign(99, 2'100'000);
       }},
      // One slow run in a hundred is not p99.
      {nullptr, [](ShadowCounts& c, AccuracyPair&) { c.shadow_ns[0] = c.shadow_ns[1] = 1 << 30; }},
      {"promote_max_latency_ratio",
       [](ShadowCounts& c, AccuracyPair&) {
         for (int i = 0; i < 3; ++i) c.shadow_ns[static_cast<size_t>(i)] = 1 << 30;
       }},
  };
  for (const Case& one : cases) {
    ShadowCounts counts = GoodCounts();
    AccuracyPair accuracy;
    one.change(counts, accuracy);
    const absl::Status status = CheckGuards({}, counts, accuracy);
    if (one.guard == nullptr) {
      EXPECT_TRUE(status.ok()) << status << " in case " << &one - cases;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << &one - cases;
      EXPECT_THAT(std::string(status.message()), HasSubstr(one.guard)) << &one - cases;
    }
  }
}

class CountAgreeingTest : public ::testing::Test {
 protected:
  int64_t Count(const std::vector<int64_t>& shape, WatchTask task, std::vector<float> live,
                std::vector<float> shadow, double tolerance = 0.01) {
    const TapPort port{"y", DType::kFloat32, shape, shape[0] * 4};
    const std::byte* one = reinterpret_cast<const std::byte*>(live.data());
    const std::byte* other = reinterpret_cast<const std::byte*>(shadow.data());
    return CountAgreeing(MeaningOf({&port, 1}, task), {&port, 1},
                         static_cast<int64_t>(live.size()) / shape[0], {&one, 1}, {&other, 1},
                         tolerance);
  }
};

TEST_F(CountAgreeingTest, ClassesAgreeWhateverTheirScores) {
  EXPECT_EQ(Count({2}, WatchTask::kAuto, {1, 2, 5, 0}, {1, 9, 0, 5}), 1);
}

TEST_F(CountAgreeingTest, ValuesAgreeWithinTheTolerance) {
  EXPECT_EQ(Count({1}, WatchTask::kAuto, {0, 0.5F, 100}, {0.009F, 0.52F, 100.9F}), 2);
  EXPECT_EQ(Count({1}, WatchTask::kAuto, {NAN, NAN, INFINITY}, {NAN, 1, INFINITY}), 2);
  EXPECT_EQ(Count({2}, WatchTask::kValue, {1, 2, 3, 4}, {1, 2, 3, 5}), 1);
}

// ------------------------------------------------------------------------------------------- queue

class FakeServer final : public ShadowServer {
 public:
  int64_t ShadowOf(const std::string&, int64_t) const override { return 2; }
  ShadowOutcome Run(const ShadowRequest& request) override {
    ++runs;
    ShadowOutcome outcome;
    outcome.version = 2;
    outcome.outputs = request.outputs;
    return outcome;
  }
  std::atomic<int> runs{0};
};

class FakeListener final : public ShadowListener {
 public:
  void OnShadow(const ShadowRequest& request, const ShadowOutcome&) override {
    last = request.request_id;
    ++calls;
  }
  std::string last;
  std::atomic<int> calls{0};
};

ShadowRequest Request(const std::string& id, size_t bytes) {
  ShadowRequest request;
  request.request_id = id;
  request.inputs.emplace_back(bytes);
  return request;
}

TEST(ShadowRunsTest, TakesNothingBeforeItIsStarted) {
  ShadowRuns runs({});
  EXPECT_EQ(runs.server(), nullptr);
  EXPECT_FALSE(runs.HasRoom(1));
  EXPECT_FALSE(runs.Offer(std::make_shared<FakeListener>(), Request("a", 1)));
}

TEST(ShadowRunsTest, RunsInTheOrderOfferedAndTellsTheListener) {
  FakeServer server;
  const auto listener = std::make_shared<FakeListener>();
  ShadowRuns runs({});
  runs.StartWithoutThread(server);
  EXPECT_TRUE(runs.Offer(listener, Request("a", 1)));
  EXPECT_TRUE(runs.Offer(listener, Request("b", 1)));
  EXPECT_EQ(server.runs, 0);  // whoever offers does not wait
  EXPECT_TRUE(runs.RunOne());
  EXPECT_EQ(listener->last, "a");
  EXPECT_TRUE(runs.RunOne());
  EXPECT_EQ(listener->last, "b");
  EXPECT_FALSE(runs.RunOne());
}

TEST(ShadowRunsTest, DropsWhatPassesItsBounds) {
  FakeServer server;
  const auto listener = std::make_shared<FakeListener>();
  ShadowRuns runs({.max_requests = 2, .max_bytes = 100});
  runs.StartWithoutThread(server);
  EXPECT_TRUE(runs.Offer(listener, Request("", 60)));
  EXPECT_FALSE(runs.HasRoom(41));
  EXPECT_TRUE(runs.HasRoom(40));
  EXPECT_FALSE(runs.Offer(listener, Request("", 41)));
  EXPECT_TRUE(runs.Offer(listener, Request("", 40)));
  EXPECT_FALSE(runs.Offer(listener, Request("", 0)));  // two wait already
  EXPECT_TRUE(runs.RunOne());
  EXPECT_TRUE(runs.HasRoom(60));
}

TEST(ShadowRunsTest, ItsThreadRunsWhatIsOfferedUntilItIsStopped) {
  FakeServer server;
  const auto listener = std::make_shared<FakeListener>();
  ShadowRuns runs({});
  runs.Start(server);
  ASSERT_TRUE(runs.Offer(listener, Request("a", 1)));
  while (listener->calls == 0) std::this_thread::yield();
  runs.Stop();
  EXPECT_FALSE(runs.Offer(listener, Request("b", 1)));
  EXPECT_EQ(listener->calls, 1);
}

}  // namespace
}  // namespace bitmill
