#include "server/tracing/tracer.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "tests/fakes/fake_clock.h"

namespace bitmill {
namespace {

class ListSink final : public TraceSink {
 public:
  void Add(TracedRequest request) override { requests.push_back(std::move(request)); }
  std::vector<TracedRequest> requests;
};

TraceContext Caller(bool sampled) {
  return {.trace = {.high = 1, .low = 2}, .parent_span = 3, .sampled = sampled, .state = "a=b"};
}

class TracerTest : public ::testing::Test {
 protected:
  int Sampled(Tracer& tracer, int requests) {
    int sampled = 0;
    for (int i = 0; i < requests; ++i) sampled += tracer.Begin({}, "M") == nullptr ? 0 : 1;
    return sampled;
  }
  FakeClock clock{5'000'000'000};
  ListSink sink;
};

TEST_F(TracerTest, ObeysTheCaller) {
  Tracer none(0, 1, sink, clock);
  const std::unique_ptr<TracedRequest> request = none.Begin(Caller(true), "ModelInfer");
  ASSERT_NE(request, nullptr);
  EXPECT_EQ(request->trace.low, 2U);
  EXPECT_EQ(request->parent_span, 3U);
  EXPECT_EQ(request->state, "a=b");
  EXPECT_STREQ(request->method, "ModelInfer");
  EXPECT_NE(request->span, 0U);
  Tracer all(1, 1, sink, clock);
  EXPECT_EQ(all.Begin(Caller(false), "ModelInfer"), nullptr);
}

TEST_F(TracerTest, SamplesItsShareOfTheOthers) {
  Tracer none(0, 1, sink, clock);
  EXPECT_EQ(Sampled(none, 1000), 0);
  Tracer all(1, 1, sink, clock);
  EXPECT_EQ(Sampled(all, 1000), 1000);
  // The standard deviation is 45: the seed is fixed, so is the result.
  Tracer some(0.1, 1, sink, clock);
  EXPECT_NEAR(Sampled(some, 20'000), 2000, 200);
}

TEST_F(TracerTest, GivesEachRequestIdentifiersOfItsOwn) {
  Tracer first(1, 1, sink, clock);
  Tracer second(1, 2, sink, clock);
  std::set<std::string> traces;
  std::set<uint64_t> spans;
  for (int i = 0; i < 1000; ++i) {
    for (Tracer* const tracer : {&first, &second}) {
      const std::unique_ptr<TracedRequest> request = tracer->Begin({}, "M");
      EXPECT_EQ(request->parent_span, 0U);
      traces.insert(request->trace.Hex());
      spans.insert(request->span);
    }
  }
  EXPECT_EQ(traces.size(), 2000U);
  EXPECT_EQ(spans.size(), 2000U);
}

TEST_F(TracerTest, HandsOverWhatIsAnsweredWithTheWallClocksTime) {
  Tracer all(1, 1, sink, clock);
  std::unique_ptr<TracedRequest> request = all.Begin({}, "M");
  request->finished_ns = clock.Now();
  all.End(std::move(request));
  ASSERT_EQ(sink.requests.size(), 1U);
  // The fake clock's wall time is its monotonic time.
  EXPECT_EQ(sink.requests[0].unix_minus_monotonic_ns, 0);
  EXPECT_EQ(sink.requests[0].finished_ns, 5'000'000'000);
}

}  // namespace
}  // namespace bitmill
