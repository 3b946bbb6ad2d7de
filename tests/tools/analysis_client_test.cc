// The client, `top --once` and `report` against a real gRPC server in this process.
#include "tools/analysis/analysis_client.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/analysis.grpc.pb.h"
#include "tools/analysis/html_report.h"
#include "tools/cmd_top.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::internal::CaptureStderr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStderr;
using ::testing::internal::GetCapturedStdout;

// Answers with the fixture of the web page's test. A watcher gets three reports, then the end.
class Server final : public pb::AnalysisService::Service {
 public:
  Server() {
    const auto json = ReadFile(
        absl::StrCat(BITMILL_SOURCE_DIR, "/tests/end_to_end/fixtures/analysis_report.json"));
    saved_ = ParseSavedReport(json.value()).value();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Server() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int watched() const { return watched_; }

  grpc::Status GetReport(grpc::ServerContext*, const pb::GetReportRequest*,
                         pb::Report* response) override {
    *response = saved_.report();
    return grpc::Status::OK;
  }
  grpc::Status WatchReport(grpc::ServerContext*, const pb::WatchReportRequest*,
                           grpc::ServerWriter<pb::Report>* writer) override {
    pb::Report report = saved_.report();
    for (int i = 1; i <= 3; ++i) {
      report.set_unix_millis(i);
      writer->Write(report);
    }
    ++watched_;
    return {grpc::StatusCode::ABORTED, "it restarts"};
  }
  grpc::Status GetTimeline(grpc::ServerContext*, const pb::GetTimelineRequest* request,
                           pb::Timeline* response) override {
    if (request->model() == "digits_w1a1") return {grpc::StatusCode::NOT_FOUND, "just unloaded"};
    for (const pb::Timeline& timeline : saved_.timelines()) {
      if (timeline.model() == request->model()) *response = timeline;
    }
    return grpc::Status::OK;
  }

 private:
  pb::SavedReport saved_;
  std::atomic<int> watched_{0};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST(AnalysisClientTest, SavesTheReportWithTheTimelinesThatThereAre) {
  const Server server;
  const auto saved = AskSavedReport(server.address(), "", 60, absl::Seconds(10));
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->report().models_size(), 5);
  EXPECT_EQ(saved->timelines_size(), 4) << "one model was unloaded meanwhile";
  EXPECT_GT(saved->timelines(0).points_size(), 10);
}

TEST(AnalysisClientTest, SavesOneModel) {
  const Server server;
  const auto saved = AskSavedReport(server.address(), "fmnist_wide_w1a1", 60, absl::Seconds(10));
  ASSERT_TRUE(saved.ok()) << saved.status();
  ASSERT_EQ(saved->report().models_size(), 1);
  EXPECT_EQ(saved->timelines_size(), 1);
  EXPECT_THAT(AskSavedReport(server.address(), "nothing", 60, absl::Seconds(10)).status().message(),
              HasSubstr("serves no model called 'nothing'"));
}

TEST(AnalysisClientTest, SaysThatNobodyAnswers) {
  const absl::Status status = AskReport("127.0.0.1:1", absl::Seconds(10)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("127.0.0.1:1"), HasSubstr("check the address")));
}

TEST(AnalysisClientTest, AWatcherTakesTheNewestAndComesBack) {
  const Server server;
  const ReportWatcher watcher(server.address(), absl::Seconds(1));
  const absl::Time end = absl::Now() + absl::Seconds(30);
  while (server.watched() < 2 && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
  ASSERT_GE(server.watched(), 2) << "it asks again after the stream broke";
  TargetReport newest = watcher.Newest();
  while (newest.error.empty() && absl::Now() < end) newest = watcher.Newest();
  ASSERT_TRUE(newest.report != nullptr);
  EXPECT_EQ(newest.report->unix_millis(), 3);
  EXPECT_THAT(newest.error, HasSubstr("it restarts"));
}

TEST(AnalysisClientTest, AWatcherOfNobodyEnds) {
  const ReportWatcher watcher("127.0.0.1:1", absl::Seconds(1));
  const absl::Time end = absl::Now() + absl::Seconds(30);
  while (watcher.Newest().error.empty() && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_THAT(watcher.Newest().error, HasSubstr("cannot be reached"));
  EXPECT_TRUE(watcher.Newest().report == nullptr);
}

TEST(TopCommandTest, OncePrintsWhatSeveralServersDoTogether) {
  const Server a, b;
  TopOptions options;
  options.once = true;
  options.targets = {a.address(), b.address()};
  CaptureStdout();
  const absl::StatusOr<int> status = RunTop(options);
  const std::string text = GetCapturedStdout();
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(*status, 0);
  EXPECT_THAT(text, AllOf(HasSubstr("16,240"), HasSubstr("overload 2/2"), HasSubstr("-24 %")));
  EXPECT_THAT(text, testing::Not(HasSubstr("\x1b")));
}

TEST(TopCommandTest, OnceFailsWhenAServerIsMissingAndShowsTheOthers) {
  const Server server;
  TopOptions options;
  options.once = true;
  options.targets = {server.address(), "127.0.0.1:1"};
  CaptureStdout();
  CaptureStderr();
  const absl::StatusOr<int> status = RunTop(options);
  EXPECT_THAT(GetCapturedStderr(), HasSubstr("127.0.0.1:1 cannot be reached"));
  EXPECT_THAT(GetCapturedStdout(), HasSubstr("digits_w1a1"));
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(*status, 1);
}

}  // namespace
}  // namespace bitmill
