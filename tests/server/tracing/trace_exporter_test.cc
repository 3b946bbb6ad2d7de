#include "server/tracing/trace_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "proto/otlp_trace.pb.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

TracedRequest MakeRequest(uint64_t span, MonotonicNanos finished, MonotonicNanos computed = 0) {
  TracedRequest request;
  request.span = span;
  request.finished_ns = finished;
  request.computed_ns = computed;
  return request;
}

std::vector<uint64_t> SpanIds(const std::vector<TracedRequest>& requests) {
  std::vector<uint64_t> spans;
  for (const TracedRequest& request : requests) spans.push_back(request.span);
  return spans;
}

TEST(TraceExporterTest, PausesGrowUpToALimitThenItGivesUp) {
  const TraceExporterOptions options{.attempts = 5, .first_pause_ns = 100, .longest_pause_ns = 300};
  EXPECT_EQ(RetryPause(options, absl::StatusCode::kUnavailable, 2, 0), 50);
  EXPECT_EQ(RetryPause(options, absl::StatusCode::kUnavailable, 2, 49), 99);
  EXPECT_EQ(RetryPause(options, absl::StatusCode::kUnavailable, 3, 0), 100);
  EXPECT_EQ(RetryPause(options, absl::StatusCode::kUnavailable, 4, 0), 150);
  EXPECT_EQ(RetryPause(options, absl::StatusCode::kUnavailable, 5, 0), 150);
  EXPECT_FALSE(RetryPause(options, absl::StatusCode::kUnavailable, 6, 0));
}

TEST(TraceExporterTest, OnlyPassingReasonsAreTriedAgain) {
  const TraceExporterOptions options;
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded,
        absl::StatusCode::kCancelled, absl::StatusCode::kAborted, absl::StatusCode::kDataLoss}) {
    EXPECT_TRUE(RetryPause(options, code, 2, 1)) << absl::StatusCodeToString(code);
  }
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnimplemented, absl::StatusCode::kInvalidArgument,
        absl::StatusCode::kPermissionDenied, absl::StatusCode::kInternal,
        absl::StatusCode::kResourceExhausted}) {
    EXPECT_FALSE(RetryPause(options, code, 2, 1)) << absl::StatusCodeToString(code);
  }
}

TEST(TraceExporterTest, TakesWhatWasAnsweredLongEnoughAgoByExecution) {
  std::vector<TracedRequest> waiting = {MakeRequest(1, 100, 90), MakeRequest(2, 200, 190),
                                        MakeRequest(3, 110, 80), MakeRequest(4, 120, 90),
                                        MakeRequest(5, 150, 0)};
  const std::vector<TracedRequest> ripe = TakeRipe(waiting, 150);
  EXPECT_THAT(SpanIds(ripe), ElementsAre(3, 1, 4));
  EXPECT_THAT(SpanIds(waiting), ElementsAre(2, 5));
}

TEST(TraceExporterTest, AnExecutionIsNotSentInParts) {
  const std::vector<TracedRequest> ripe = {MakeRequest(1, 0, 0),  MakeRequest(2, 0, 0),
                                           MakeRequest(3, 0, 90), MakeRequest(4, 0, 90),
                                           MakeRequest(5, 0, 90), MakeRequest(6, 0, 95)};
  EXPECT_EQ(ChunkSize(ripe, 0, 1), 1U);
  EXPECT_EQ(ChunkSize(ripe, 0, 3), 5U);
  EXPECT_EQ(ChunkSize(ripe, 5, 3), 1U);
}

// Answers calls as a test says, on the exporter's thread.
class FakeTransport final : public TraceTransport {
 public:
  using Answer = std::function<absl::StatusOr<int64_t>(int call, const std::atomic<bool>* stop)>;
  explicit FakeTransport(Answer answer) : answer_(std::move(answer)) {}

  absl::StatusOr<int64_t> Send(const std::string& message, int64_t /*timeout_ns*/,
                               const std::atomic<bool>* stop) override {
    int call = 0;
    {
      MutexLock lock(&mutex_);
      call = ++calls_;
    }
    absl::StatusOr<int64_t> answer = answer_(call, stop);
    if (!answer.ok()) return answer;
    otlp::ExportTraceServiceRequest request;
    EXPECT_TRUE(request.ParseFromString(message));
    MutexLock lock(&mutex_);
    spans_ += request.resource_spans(0).scope_spans(0).spans_size();
    return answer;
  }
  int calls() const {
    MutexLock lock(&mutex_);
    return calls_;
  }
  int spans() const {
    MutexLock lock(&mutex_);
    return spans_;
  }

 private:
  const Answer answer_;
  mutable Mutex mutex_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int spans_ ABSL_GUARDED_BY(mutex_) = 0;
};

class TraceExporterThreadTest : public ::testing::Test {
 protected:
  void Start(FakeTransport::Answer answer) {
    auto owned = std::make_unique<FakeTransport>(std::move(answer));
    transport = owned.get();
    exporter =
        std::make_unique<TraceExporter>(options, TraceResource{}, 1, std::move(owned), clock);
  }
  void Add(int requests) {
    for (int i = 0; i < requests; ++i) {
      exporter->Add(MakeRequest(static_cast<uint64_t>(i + 1), clock.Now()));
    }
  }
  static void WaitUntil(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "waited in vain";
      std::this_thread::yield();
    }
  }

  const SystemClock clock{};
  TraceExporterOptions options{.period_ns = 1'000'000,
                               .hold_back_ns = 0,
                               .first_pause_ns = 1'000'000,
                               .longest_pause_ns = 2'000'000};
  std::unique_ptr<TraceExporter> exporter;
  FakeTransport* transport = nullptr;
};

TEST_F(TraceExporterThreadTest, SendsWhatIsAddedAndCountsIt) {
  Start([](int, const std::atomic<bool>*) { return 2; });
  Add(3);
  WaitUntil([this] { return exporter->Counts().exported == 3; });
  EXPECT_EQ(transport->spans(), 3);
  EXPECT_GE(exporter->Counts().spans_refused, 2);
  EXPECT_EQ(exporter->Points()[0].value, 3);
}

TEST_F(TraceExporterThreadTest, TriesAgainWhileTheCollectorIsAway) {
  Start([](int call, const std::atomic<bool>*) -> absl::StatusOr<int64_t> {
    if (call < 3) return absl::UnavailableError("away");
    return 0;
  });
  Add(1);
  WaitUntil([this] { return exporter->Counts().exported == 1; });
  EXPECT_EQ(exporter->Counts().failed_calls, 2);
  EXPECT_EQ(exporter->Counts().dropped_failed, 0);
}

TEST_F(TraceExporterThreadTest, DropsAndCountsWhatCannotBeSent) {
  Start([](int, const std::atomic<bool>*) -> absl::StatusOr<int64_t> {
    return absl::UnavailableError("away");
  });
  Add(1);
  WaitUntil([this] { return exporter->Counts().dropped_failed == 1; });
  EXPECT_EQ(exporter->Counts().failed_calls, options.attempts);
}

TEST_F(TraceExporterThreadTest, DropsAndCountsWhatDoesNotFit) {
  options.max_waiting = 10;
  options.period_ns = 3'600'000'000'000;
  Start([](int, const std::atomic<bool>*) { return 0; });
  Add(15);
  EXPECT_EQ(exporter->Counts().dropped_full, 5);
  exporter->Stop();
  EXPECT_EQ(exporter->Counts().exported, 10);
  Add(1);
  EXPECT_EQ(exporter->Counts().dropped_full, 6);
}

TEST_F(TraceExporterThreadTest, StopEndsACallThatHangsAndSendsOnceMore) {
  std::atomic<bool> hangs{false};
  Start([&hangs](int, const std::atomic<bool>* stop) -> absl::StatusOr<int64_t> {
    if (stop == nullptr) return 0;
    hangs = true;
    while (!*stop) std::this_thread::yield();
    return absl::CancelledError("stopped");
  });
  Add(1);
  WaitUntil([&hangs] { return hangs.load(); });
  exporter->Stop();
  EXPECT_EQ(exporter->Counts().exported, 1);
  EXPECT_EQ(transport->calls(), 2);
}

TEST_F(TraceExporterThreadTest, StopDoesNotRetryForLong) {
  options.period_ns = 3'600'000'000'000;
  options.attempts = 1'000'000;
  Start([](int, const std::atomic<bool>*) -> absl::StatusOr<int64_t> {
    return absl::UnavailableError("away");
  });
  Add(3);
  exporter->Stop();
  EXPECT_EQ(exporter->Counts().dropped_failed, 3);
}

}  // namespace
}  // namespace bitmill
