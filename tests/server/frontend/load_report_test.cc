#include "server/frontend/load_report.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>

#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/test/server_context_test_spouse.h"
#include "proto/orca_service.pb.h"
#include "server/frontend/generic_call.h"
#include "tests/fakes/fake_analysis.h"
#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

using xds::data::orca::v3::OrcaLoadReport;
using xds::service::orca::v3::OrcaLoadReportRequest;

ModelReport MakeModel(double demand, double capacity, double busy) {
  ModelReport model;
  model.forecast.demand_rows_per_s = demand;
  model.forecast.capacity_rows_per_s = capacity;
  model.forecast.headroom = capacity > 0 ? 1 - demand / capacity : 1;
  model.busy_share = busy;
  return model;
}

TEST(LoadReportTest, TheModelClosestToItsCapacityDecides) {
  AnalysisReport report;
  report.host.process_cpu_cores = 3;
  report.host.cpu_budget_cores = 4;
  report.host.memory_used_bytes = 1;
  report.host.memory_limit_bytes = 2;
  report.models = {MakeModel(900, 1000, 0.2), MakeModel(600, 2000, 0.95), MakeModel(0, 0, 0.4)};
  report.models[0].answered_per_s = 80;
  report.models[0].refused_per_s = 5;
  report.models[1].answered_per_s = 20;
  report.models[1].expired_per_s = 2;
  report.models[1].failed_per_s = 1;
  report.models[1].queue_depth = 7;
  const OrcaLoadReport load = MakeLoadReport(report);
  EXPECT_EQ(load.cpu_utilization(), 0.75);
  EXPECT_EQ(load.mem_utilization(), 0.5);
  EXPECT_EQ(load.application_utilization(), 0.9);
  EXPECT_EQ(load.rps_fractional(), 108);
  EXPECT_EQ(load.eps(), 8);
  EXPECT_NEAR(load.named_metrics().at("bitmill.headroom"), 0.1, 1e-9);
  EXPECT_EQ(load.named_metrics().at("bitmill.queue_depth"), 7);
  EXPECT_EQ(load.named_metrics().at("bitmill.demand_rows_per_s"), 1500);
  EXPECT_EQ(load.named_metrics().at("bitmill.capacity_rows_per_s"), 3000);
}

TEST(LoadReportTest, BusyInstancesStandInForACapacityThatIsNotKnown) {
  AnalysisReport report;
  report.models = {MakeModel(900, 0, 0.4)};
  EXPECT_EQ(MakeLoadReport(report).application_utilization(), 0.4);
}

TEST(LoadReportTest, IsZeroForWhatIsNoNumber) {
  AnalysisReport report;
  report.host.process_cpu_cores = -1;
  report.models = {MakeModel(std::numeric_limits<double>::quiet_NaN(), 10, 0)};
  report.models[0].answered_per_s = -1;
  const OrcaLoadReport load = MakeLoadReport(report);
  EXPECT_EQ(load.cpu_utilization(), 0);
  EXPECT_EQ(load.application_utilization(), 0);
  EXPECT_EQ(load.rps_fractional(), 0);
  EXPECT_EQ(load.named_metrics().at("bitmill.headroom"), 1);
}

// The application's utilization in the trailing metadata that an answer would have; -1: there is no
// report. gRPC keeps this metadata from its clients' applications, so that a call cannot show it.
double InAnswer(LoadReports when, const LoadReporter& reporter, bool asked) {
  grpc::ServerContext context;
  grpc::testing::ServerContextTestSpouse spouse(&context);
  if (asked) spouse.AddClientMetadata("endpoint-load-metrics-format", "bin");
  AddLoadReport(when, reporter, context);
  const auto trailers = spouse.GetTrailingMetadata();
  const auto found = trailers.find("endpoint-load-metrics-bin");
  if (found == trailers.end()) return -1;
  OrcaLoadReport load;
  EXPECT_TRUE(load.ParseFromString(found->second));
  return load.application_utilization();
}

TEST(LoadReportTest, AnswersCarryTheNewestAsConfigured) {
  LoadReporter reporter;
  EXPECT_EQ(InAnswer(LoadReports::kPerRequest, reporter, false), -1);  // there is none yet
  AnalysisReport report;
  report.models = {MakeModel(50, 100, 0)};
  reporter.Update(report);
  EXPECT_EQ(InAnswer(LoadReports::kPerRequest, reporter, false), 0.5);
  EXPECT_EQ(InAnswer(LoadReports::kAsked, reporter, true), 0.5);
  EXPECT_EQ(InAnswer(LoadReports::kAsked, reporter, false), -1);
  EXPECT_EQ(InAnswer(LoadReports::kOutOfBand, reporter, true), -1);
}

class LoadReportsTest : public Serving {
 protected:
  void StartWith(LoadReports when) {
    options.load_reports = when;
    services.analysis = &source;
    Publish(0.5);
    Add("m");
    Start();
  }
  void Publish(double utilization) {
    AnalysisReport report;
    report.models = {MakeModel(utilization * 100, 100, 0)};
    source.Publish(std::move(report));
  }
  // One StreamCoreMetrics call.
  class Stream {
   public:
    Stream(const std::shared_ptr<grpc::Channel>& channel, const std::string& request)
        : stub_(channel) {
      context_.set_deadline(Patience());
      call_ = stub_.PrepareCall(&context_, kStreamLoadMethod, &queue_);
      call_->StartCall(nullptr);
      Wait();
      call_->WriteLast(ToByteBuffer(request), {}, nullptr);
      Wait();
    }
    ~Stream() {
      context_.TryCancel();
      End();
      queue_.Shutdown();
    }
    // The application's utilization of the next report; -1: there is none.
    double Next() {
      grpc::ByteBuffer message;
      call_->Read(&message, nullptr);
      if (!Wait()) return -1;
      OrcaLoadReport load;
      EXPECT_TRUE(load.ParseFromString(ToString(message)));
      return load.application_utilization();
    }
    grpc::StatusCode End() {
      if (!ended_) {
        call_->Finish(&status_, nullptr);
        Wait();
        ended_ = true;
      }
      return status_.error_code();
    }

   private:
    bool Wait() {
      void* tag = nullptr;
      bool ok = false;
      EXPECT_TRUE(queue_.Next(&tag, &ok));
      return ok;
    }
    grpc::GenericStub stub_;
    grpc::ClientContext context_;
    grpc::CompletionQueue queue_;
    std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
    grpc::Status status_;
    bool ended_ = false;
  };

  FakeAnalysis source;  // outlives the server

 private:
  void TearDown() override { frontend = nullptr; }
};

TEST_F(LoadReportsTest, AStreamGetsEachNewReport) {
  StartWith(LoadReports::kOutOfBand);
  Stream stream(channel, "");
  EXPECT_EQ(stream.Next(), 0.5);
  Publish(0.75);
  EXPECT_EQ(stream.Next(), 0.75);
}

TEST_F(LoadReportsTest, AStreamRefusesWhatItCannotRead) {
  StartWith(LoadReports::kOutOfBand);
  OrcaLoadReportRequest request;
  request.mutable_report_interval()->set_seconds(-1);
  for (const std::string& bytes : {request.SerializeAsString(), std::string("\xFF\xFF")}) {
    Stream stream(channel, bytes);
    EXPECT_EQ(stream.Next(), -1);
    EXPECT_EQ(stream.End(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(LoadReportsTest, ClientsAreToldNotToAskAgainWhenThereAreNone) {
  StartWith(LoadReports::kOff);
  Stream stream(channel, "");
  EXPECT_EQ(stream.Next(), -1);
  EXPECT_EQ(stream.End(), grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace bitmill
