#include "server/metrics/model_recorder.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

StageTimes Stages(int64_t each_ns) {
  StageTimes stages;
  stages.ns.fill(each_ns);
  return stages;
}

TEST(ModelRecorderTest, CountsRequestsByCode) {
  ModelRecorder recorder;
  recorder.RecordRequest(absl::StatusCode::kOk, 1000, 3, Stages(10));
  recorder.RecordRequest(absl::StatusCode::kOk, 2000, 4, Stages(20));
  recorder.RecordRequest(absl::StatusCode::kInvalidArgument, 500, 9, Stages(30));
  const ModelStatisticsSnapshot snapshot = recorder.Snapshot();
  EXPECT_EQ(snapshot.requests_ok, 2);
  EXPECT_EQ(snapshot.requests_failed, 1);
  EXPECT_EQ(snapshot.rows, 7);
  EXPECT_EQ(snapshot.success_ns, 3000);
  EXPECT_EQ(snapshot.fail_ns, 500);
  EXPECT_EQ(snapshot.stage_ns[Stage::kDecode], 30);
  EXPECT_EQ(snapshot.stage_ns[Stage::kEncode], 30);
  EXPECT_GT(snapshot.last_inference_unix_ms, 1'600'000'000'000);
  EXPECT_EQ(recorder.Counts().requests[static_cast<size_t>(absl::StatusCode::kInvalidArgument)], 1);
}

TEST(ModelRecorderTest, CountsLateAnswersOnceAnObjectiveIsStated) {
  ModelRecorder recorder;
  recorder.RecordRequest(absl::StatusCode::kOk, 99'000, 1, {});
  recorder.objective_ns = 2000;
  recorder.RecordRequest(absl::StatusCode::kOk, 1999, 1, {});
  recorder.RecordRequest(absl::StatusCode::kOk, 2000, 1, {});
  recorder.RecordRequest(absl::StatusCode::kOk, 2001, 1, {});
  recorder.RecordRequest(absl::StatusCode::kDeadlineExceeded, 99'000, 1, {});
  recorder.objective_ns = 0;
  recorder.RecordRequest(absl::StatusCode::kOk, 99'000, 1, {});
  EXPECT_EQ(recorder.Counts().within_objective, 2);
  EXPECT_EQ(recorder.Counts().late, 1);
}

TEST(ModelRecorderTest, PutsADurationIntoTheFirstBucketThatHoldsIt) {
  ModelRecorder recorder;
  recorder.RecordRequest(absl::StatusCode::kOk, 25'000, 1, {});
  recorder.RecordRequest(absl::StatusCode::kOk, 25'001, 1, {});
  recorder.RecordRequest(absl::StatusCode::kOk, 10'000'000'001, 1, {});
  const auto buckets = recorder.Counts().duration.Classic().buckets;
  EXPECT_EQ(buckets[0], 1);
  EXPECT_EQ(buckets[1], 1);
  EXPECT_EQ(buckets[kDurationBoundsNs.size()], 1);
}

TEST(ModelRecorderTest, CountsDurationsOfAllCodesFinely) {
  ModelRecorder recorder;
  recorder.RecordRequest(absl::StatusCode::kOk, 1'000'000, 1, {});
  recorder.RecordRequest(absl::StatusCode::kInternal, 1'000'000, 1, {});
  recorder.RecordRequest(absl::StatusCode::kOk, 500, 1, {});
  const NativeCounts native = recorder.Counts().duration.InNativeBuckets();
  EXPECT_EQ(native.counts[RequestBuckets::Place(1'000'000)], 2);
  EXPECT_EQ(native.counts[0], 1);
}

TEST(ModelRecorderTest, CountsStagesOfSuccessfulRequestsFinely) {
  ModelRecorder recorder;
  recorder.RecordRequest(absl::StatusCode::kOk, 1'000'000, 1, Stages(3'000));
  recorder.RecordRequest(absl::StatusCode::kInternal, 1'000'000, 1, Stages(4'000));
  const ModelCounts counts = recorder.Counts();
  for (const StageDurations::Counts& stage : counts.stages) {
    EXPECT_EQ(stage.InNativeBuckets().counts[StageBuckets::Place(3'000)], 1);
    EXPECT_EQ(stage.Classic().buckets[1], 1);
    EXPECT_EQ(stage.sum, 3'000);
  }
}

TEST(ModelRecorderTest, RemembersTheNewestTraceOfEachBucket) {
  ModelRecorder recorder;
  recorder.RecordExemplar(24'000, {1, 1});
  recorder.RecordExemplar(25'000, {2, 2});
  recorder.RecordExemplar(60'000'000'000, {3, 3});
  ASSERT_TRUE(recorder.DurationExemplar(0).has_value());
  EXPECT_EQ(recorder.DurationExemplar(0)->trace.low, 2U);
  EXPECT_EQ(recorder.DurationExemplar(0)->value, 25'000);
  EXPECT_GT(recorder.DurationExemplar(0)->unix_millis, 1'600'000'000'000);
  EXPECT_FALSE(recorder.DurationExemplar(1).has_value());
  EXPECT_EQ(recorder.DurationExemplar(kDurationBoundsNs.size())->trace.high, 3U);
}

TEST(ModelRecorderTest, CountsExecutionsByExactRows) {
  ModelRecorder recorder;
  recorder.RecordExecution(1, 100);
  recorder.RecordExecution(1, 50);
  recorder.RecordExecution(63, 7);
  recorder.RecordExecution(64, 8);
  recorder.RecordExecution(1'000'000, 9);
  const auto batches = recorder.Snapshot().batches;
  ASSERT_EQ(batches.size(), 4U);
  EXPECT_EQ(batches[0].rows, 1);
  EXPECT_EQ(batches[0].executions, 2);
  EXPECT_EQ(batches[0].compute_ns, 150);
  EXPECT_EQ(batches[1].rows, 63);
  EXPECT_EQ(batches[2].rows, 64);
  EXPECT_EQ(batches[3].rows, 65'535);  // the largest that is told apart
  EXPECT_EQ(recorder.Snapshot().executions, 5);
  EXPECT_EQ(recorder.Counts().batch_rows.sum, 1'000'129);
}

TEST(ModelRecorderTest, LosesNothingWhenManyThreadsRecordAndOneReads) {
  constexpr int kThreads = 4;
  constexpr int kRequests = 20'000;
  ModelRecorder recorder;
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    int64_t last = 0;
    while (!stop) {
      const int64_t seen = recorder.Snapshot().requests_ok;
      EXPECT_GE(seen, last);
      last = seen;
    }
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < kThreads; ++t) {
    writers.emplace_back([&] {
      for (int i = 0; i < kRequests; ++i) {
        recorder.RecordRequest(absl::StatusCode::kOk, i, 2, Stages(1));
        recorder.RecordExecution(1 + i % 200, 1);
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  stop = true;
  reader.join();
  const ModelStatisticsSnapshot snapshot = recorder.Snapshot();
  EXPECT_EQ(snapshot.requests_ok, kThreads * kRequests);
  EXPECT_EQ(snapshot.rows, 2 * kThreads * kRequests);
  EXPECT_EQ(snapshot.executions, kThreads * kRequests);
  EXPECT_EQ(snapshot.batches.size(), 200U);
  EXPECT_EQ(snapshot.stage_ns[Stage::kCompute], kThreads * kRequests);
}

// The bound is ten times what it takes: it fails for a lock or an allocation, not for a busy
// machine. The figure itself is printed.
TEST(ModelRecorderTest, RecordsARequestInFarLessThanAMicrosecond) {
  constexpr int kRequests = 200'000;
  ModelRecorder recorder;
  const int64_t start = ThreadCpuNanos();
  for (int i = 0; i < kRequests; ++i) {
    recorder.RecordRequest(absl::StatusCode::kOk, i * 100, 1, Stages(i));
    recorder.RecordExecution(1, i);
  }
  const double ns = static_cast<double>(ThreadCpuNanos() - start) / kRequests;
  RecordProperty("ns_per_request", static_cast<int>(ns));
  std::printf("%.0f ns a request with its execution\n", ns);
#if defined(NDEBUG) && !defined(BITMILL_SANITIZED)
  EXPECT_LT(ns, 2500);
#endif
}

// The price of one fine count, and of one exemplar: printed, with bounds for a lock or a system
// call.
TEST(ModelRecorderTest, CountsFinelyInNanoseconds) {
  constexpr int kRequests = 1'000'000;
  RequestDurations histogram;
  int64_t start = ThreadCpuNanos();
  for (int i = 0; i < kRequests; ++i) histogram.Add(20'000 + i * 7);
  const double count_ns = static_cast<double>(ThreadCpuNanos() - start) / kRequests;
  ModelRecorder recorder;
  start = ThreadCpuNanos();
  for (int i = 0; i < kRequests; ++i) recorder.RecordExemplar(i * 7, {1, 1});
  const double exemplar_ns = static_cast<double>(ThreadCpuNanos() - start) / kRequests;
  std::printf("%.1f ns a fine count, %.1f ns an exemplar\n", count_ns, exemplar_ns);
#if defined(NDEBUG) && !defined(BITMILL_SANITIZED)
  EXPECT_LT(count_ns, 100);
  EXPECT_LT(exemplar_ns, 1000);
#endif
}

}  // namespace
}  // namespace bitmill
