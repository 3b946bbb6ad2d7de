#include "server/frontend/report_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "proto/analysis.grpc.pb.h"
#include "tests/fakes/fake_analysis.h"
#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;
using WatchStream = grpc::ClientReader<pb::Report>;

class ReportWatchTest : public Serving {
 protected:
  void StartWithAnalysis() {
    services.analysis = &source;
    Publish(1);
    Add("m");
    Start();
    analysis_stub = pb::AnalysisService::NewStub(channel);
  }
  // A report with this number as its time.
  void Publish(int64_t number, size_t models = 0) {
    AnalysisReport report;
    report.unix_millis = number;
    ModelReport model;
    model.facts.name.assign(1, 'm');
    report.models.assign(models, model);
    source.Publish(std::move(report));
  }
  std::unique_ptr<WatchStream> Watch(grpc::ClientContext& context,
                                     const pb::WatchReportRequest& request = {}) {
    context.set_deadline(Patience());
    return analysis_stub->WatchReport(&context, request);
  }
  grpc::StatusCode EndOf(const pb::WatchReportRequest& request) {
    grpc::ClientContext context;
    const auto watch = Watch(context, request);
    while (Next(*watch) != -1) {
    }
    return watch->Finish().error_code();
  }
  // The number of the next report; -1: there is none.
  static int64_t Next(WatchStream& stream) {
    pb::Report report;
    return stream.Read(&report) ? report.unix_millis() : -1;
  }

  FakeAnalysis source;  // outlives the server
  std::unique_ptr<pb::AnalysisService::Stub> analysis_stub;

 private:
  void TearDown() override {
    frontend = nullptr;
    EXPECT_EQ(source.subscribers(), 0U);
  }
};

TEST_F(ReportWatchTest, SendsTheNewestReportAndEachThatFollows) {
  StartWithAnalysis();
  grpc::ClientContext context;
  const auto watch = Watch(context);
  EXPECT_EQ(Next(*watch), 1);
  for (const int64_t number : {2, 3, 4}) {
    Publish(number);
    EXPECT_EQ(Next(*watch), number);
  }
}

TEST_F(ReportWatchTest, SendsNoMoreOftenThanItsPeriod) {
  StartWithAnalysis();
  pb::WatchReportRequest request;
  request.set_period_seconds(3600);
  grpc::ClientContext rare_context;
  const auto rare = Watch(rare_context, request);
  EXPECT_EQ(Next(*rare), 1);
  grpc::ClientContext context;
  const auto every = Watch(context);
  EXPECT_EQ(Next(*every), 1);
  Publish(2);
  EXPECT_EQ(Next(*every), 2);
  // On the one loop the rare watcher has looked at 2 as well once 3 has come.
  Publish(3);
  EXPECT_EQ(Next(*every), 3);
  frontend->Shutdown(absl::Now() + absl::Seconds(30));
  EXPECT_EQ(Next(*rare), -1);
  EXPECT_EQ(rare->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ReportWatchTest, ASlowReaderSkipsReports) {
  StartWithAnalysis();
  grpc::ClientContext slow_context;
  const auto slow = Watch(slow_context);
  EXPECT_EQ(Next(*slow), 1);
  grpc::ClientContext context;
  const auto quick = Watch(context);
  EXPECT_EQ(Next(*quick), 1);
  // Each report is about 100 kB, many times what the connection holds for a reader that waits.
  constexpr int64_t kReports = 100;
  for (int64_t number = 2; number <= kReports; ++number) {
    Publish(number, /*models=*/300);
    int64_t seen = 0;
    while (seen < number) seen = Next(*quick);
  }
  int64_t received = 0;
  int64_t last = 1;
  while (last < kReports) {
    const int64_t number = Next(*slow);
    ASSERT_GT(number, last);
    last = number;
    ++received;
  }
  EXPECT_LT(received, kReports / 2);
}

TEST_F(ReportWatchTest, RefusesWhatItCannotWatch) {
  StartWithAnalysis();
  pb::WatchReportRequest request;
  request.set_model("nobody");
  EXPECT_EQ(EndOf(request), grpc::StatusCode::NOT_FOUND);
  request.set_model("m");
  request.set_period_seconds(-1);
  EXPECT_EQ(EndOf(request), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ReportWatchTest, SaysThatTheAnalysisIsSwitchedOff) {
  Start();
  analysis_stub = pb::AnalysisService::NewStub(channel);
  EXPECT_EQ(EndOf({}), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ReportWatchTest, OnlySoManyWatchAtATime) {
  StartWithAnalysis();
  constexpr size_t kMost = 64;
  std::vector<grpc::ClientContext> contexts(kMost);
  std::vector<std::unique_ptr<WatchStream>> watches;
  for (grpc::ClientContext& context : contexts) {
    watches.push_back(Watch(context));
    EXPECT_EQ(Next(*watches.back()), 1);
  }
  EXPECT_EQ(EndOf({}), grpc::StatusCode::RESOURCE_EXHAUSTED);
  contexts[0].TryCancel();
  while (Next(*watches[0]) != -1) {
  }
  WaitUntil([this] {
    grpc::ClientContext context;
    const auto watch = Watch(context);
    return Next(*watch) == 1;
  });
}

TEST_F(ReportWatchTest, WatchersLeaveWhileReportsCome) {
  StartWithAnalysis();
  std::atomic<bool> done{false};
  std::thread reports([&] {
    for (int64_t number = 2; !done; ++number) Publish(number);
  });
  for (int i = 0; i < 100; ++i) {
    grpc::ClientContext context;
    const auto watch = Watch(context);
    EXPECT_NE(Next(*watch), -1);
    context.TryCancel();
    while (Next(*watch) != -1) {
    }
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  done = true;
  reports.join();
}

}  // namespace
}  // namespace bitmill
