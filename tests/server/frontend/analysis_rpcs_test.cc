#include "server/frontend/analysis_rpcs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>

#include "proto/analysis.grpc.pb.h"
#include "server/frontend/load_report.h"
#include "tests/fakes/fake_analysis.h"
#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace pb = analysis::v1;

class AnalysisRpcsTest : public Serving {
 protected:
  void StartWithAnalysis() {
    services.analysis = &source;
    services.quality = &quality;
    services.host.cpu = "Some CPU";
    AnalysisReport report;
    for (const int64_t version : {1, 2}) {
      ModelReport& model = report.models.emplace_back();
      model.facts.name = "m";
      model.facts.version = version;
    }
    source.Publish(report);
    Add("m");
    Add("other");
    Start();
    analysis_stub = pb::AnalysisService::NewStub(channel);
  }

  // One call of the stub; the status, the answer in `response`.
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (pb::AnalysisService::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                    const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(Patience());
    return (analysis_stub.get()->*method)(&context, request, &response);
  }
  template <typename Request, typename Response>
  grpc::StatusCode CodeOf(grpc::Status (pb::AnalysisService::Stub::*method)(grpc::ClientContext*,
                                                                            const Request&,
                                                                            Response*),
                          const Request& request) {
    Response response;
    return Call(method, request, response).error_code();
  }

  FakeAnalysis source;  // outlive the server
  FakeQuality quality;
  std::unique_ptr<pb::AnalysisService::Stub> analysis_stub;

 private:
  // The server goes first.
  void TearDown() override { frontend = nullptr; }
};

TEST_F(AnalysisRpcsTest, GivesTheNewestReport) {
  StartWithAnalysis();
  pb::Report report;
  ASSERT_TRUE(Call(&pb::AnalysisService::Stub::GetReport, pb::GetReportRequest(), report).ok());
  EXPECT_EQ(report.models_size(), 2);
  EXPECT_EQ(report.machine().cpu(), "Some CPU");
  pb::GetReportRequest request;
  request.set_model("other");  // known to the repository, but not seen by the analysis yet
  ASSERT_TRUE(Call(&pb::AnalysisService::Stub::GetReport, request, report).ok());
  EXPECT_EQ(report.models_size(), 0);
}

TEST_F(AnalysisRpcsTest, GivesATimelineWithWhatWasAskedFor) {
  source.history = {{.unix_millis = 7}};
  source.requests.resize(3);
  StartWithAnalysis();
  pb::GetTimelineRequest request;
  request.set_model("m");
  pb::Timeline timeline;
  ASSERT_TRUE(Call(&pb::AnalysisService::Stub::GetTimeline, request, timeline).ok());
  EXPECT_EQ(timeline.version(), 2);
  EXPECT_EQ(timeline.points(0).unix_millis(), 7);
  EXPECT_EQ(timeline.requests_size(), 3);
  request.set_version(1);
  request.set_seconds(60);
  request.set_max_requests(1'000'000);
  ASSERT_TRUE(Call(&pb::AnalysisService::Stub::GetTimeline, request, timeline).ok());
  EXPECT_EQ(timeline.version(), 1);
  EXPECT_THAT(source.asked(), ElementsAre("history m 0 600", "requests m 0 20", "history m 1 60",
                                          "requests m 1 1000"));
}

TEST_F(AnalysisRpcsTest, ListsWarningsAndAdaptations) {
  source.warnings = {MakeWarning(5, WarningReason::kCpuThrottled, "")};
  source.warnings[0].message = "held back";
  source.adaptations = {MakeAdaptation(6, Control::kInstances, "m")};
  StartWithAnalysis();
  pb::ListWarningsRequest age;
  age.set_max_age_seconds(90);
  pb::ListWarningsResponse warnings;
  ASSERT_TRUE(Call(&pb::AnalysisService::Stub::ListWarnings, age, warnings).ok());
  EXPECT_EQ(warnings.warnings(0).reason(), "cpu_throttled");
  EXPECT_EQ(warnings.warnings(0).message(), "held back");
  pb::ListAdaptationsRequest model;
  model.set_model("m");
  pb::ListAdaptationsResponse adaptations;
  ASSERT_TRUE(Call(&pb::AnalysisService::Stub::ListAdaptations, model, adaptations).ok());
  EXPECT_EQ(adaptations.adaptations(0).control(), "instances");
  EXPECT_THAT(source.asked(), ElementsAre("warnings 90", "adaptations m"));
}

TEST_F(AnalysisRpcsTest, HandsLabelsToTheQualityWatch) {
  quality.counts = {.matched = 2, .unmatched = 1, .invalid = 3};
  StartWithAnalysis();
  pb::FeedbackRequest request;
  request.set_model("m");
  request.set_version(2);
  pb::Label& by_id = *request.add_labels();
  by_id.set_request_id("r-1");
  by_id.set_row(4);
  by_id.set_class_index(0);
  pb::Label& by_input = *request.add_labels();
  by_input.set_input("bytes");
  by_input.set_value(1.5);
  request.add_labels()->set_class_index(1);     // of no answer
  request.add_labels()->set_request_id("r-2");  // without a truth
  pb::FeedbackResponse response;
  ASSERT_TRUE(Call(&pb::AnalysisService::Stub::Feedback, request, response).ok());
  EXPECT_THAT(quality.told(),
              ElementsAre("m 2 id=r-1 row=4 class=0", "m 2 input=bytes row=0 value=1.5"));
  EXPECT_EQ(response.matched(), 2);
  EXPECT_EQ(response.unmatched(), 2);
  EXPECT_EQ(response.invalid(), 4);
}

TEST_F(AnalysisRpcsTest, PromotionSaysWhichGuardDoesNotHold) {
  quality.promoted = absl::FailedPreconditionError("agreement 0.91, expected 0.99");
  StartWithAnalysis();
  pb::PromoteRequest request;
  request.set_model("m");
  request.set_version(2);
  pb::PromoteResponse response;
  const grpc::Status status = Call(&pb::AnalysisService::Stub::Promote, request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "agreement 0.91, expected 0.99");
  EXPECT_THAT(quality.told(), ElementsAre("promote m 2"));
}

TEST_F(AnalysisRpcsTest, RefusesModelsThatNobodyKnows) {
  StartWithAnalysis();
  pb::GetReportRequest report;
  report.set_model("nobody");
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::GetReport, report), grpc::StatusCode::NOT_FOUND);
  pb::GetTimelineRequest timeline;
  timeline.set_model("nobody");
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::GetTimeline, timeline), grpc::StatusCode::NOT_FOUND);
  timeline.set_model("m");
  timeline.set_version(3);
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::GetTimeline, timeline), grpc::StatusCode::NOT_FOUND);
  pb::ListAdaptationsRequest adaptations;
  adaptations.set_model("nobody");
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::ListAdaptations, adaptations),
            grpc::StatusCode::NOT_FOUND);
  pb::FeedbackRequest feedback;
  feedback.set_model("nobody");
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::Feedback, feedback), grpc::StatusCode::NOT_FOUND);
  pb::PromoteRequest promote;
  promote.set_model("nobody");
  promote.set_version(1);
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::Promote, promote), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(quality.told().empty());
}

TEST_F(AnalysisRpcsTest, RefusesNumbersThatMeanNothing) {
  StartWithAnalysis();
  const auto invalid = grpc::StatusCode::INVALID_ARGUMENT;
  pb::GetTimelineRequest timeline;
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::GetTimeline, timeline), invalid);  // no model
  timeline.set_model("m");
  timeline.set_version(-1);
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::GetTimeline, timeline), invalid);
  timeline.set_version(0);
  timeline.set_seconds(-1);
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::GetTimeline, timeline), invalid);
  timeline.set_seconds(0);
  timeline.set_max_requests(-1);
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::GetTimeline, timeline), invalid);
  pb::ListWarningsRequest warnings;
  for (const double age :
       {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    warnings.set_max_age_seconds(age);
    EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::ListWarnings, warnings), invalid) << age;
  }
  pb::PromoteRequest promote;
  promote.set_model("m");
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::Promote, promote), invalid);
  EXPECT_TRUE(source.asked().empty());
}

TEST_F(AnalysisRpcsTest, SaysThatItIsSwitchedOff) {
  Add("m");
  Start();
  analysis_stub = pb::AnalysisService::NewStub(channel);
  pb::Report report;
  const grpc::Status status =
      Call(&pb::AnalysisService::Stub::GetReport, pb::GetReportRequest(), report);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("the analysis is switched off"));
  EXPECT_EQ(CodeOf(&pb::AnalysisService::Stub::Feedback, pb::FeedbackRequest()),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(AnalysisRpcsTest, EveryCallRefusesBytesThatAreNoMessage) {
  StartWithAnalysis();
  const google::protobuf::ServiceDescriptor& service =
      *pb::GetReportRequest::descriptor()->file()->service(0);
  int unary = 0;
  const LoadReporter load;
  for (int i = 0; i < service.method_count(); ++i) {
    const google::protobuf::MethodDescriptor& method = *service.method(i);
    if (method.server_streaming()) continue;
    const auto rpc = AnalysisUnaryRpcs().find("/" + service.full_name() + "/" + method.name());
    ASSERT_NE(rpc, AnalysisUnaryRpcs().end()) << method.name();
    FrontendContext context{options, repository, *engine, *metrics, clock, services, load};
    EXPECT_EQ(rpc->second.run(context, "\xFF\xFF").status().code(),
              absl::StatusCode::kInvalidArgument)
        << method.name();
    ++unary;
  }
  EXPECT_EQ(unary, 6);
}

}  // namespace
}  // namespace bitmill
