// What the server makes of a client's word on when it sent a request.
#include <string>
#include <vector>

#include "server/metrics/request_log.h"
#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

class TransitTest : public Serving {
 protected:
  TransitTest() { services.log = &log; }

  // The transit time in the record of a request that says it was sent then; empty: says nothing.
  int64_t TransitOf(const std::string& sent) {
    grpc::ClientContext context;
    context.set_deadline(Patience());
    if (!sent.empty()) context.AddMetadata("bitmill-sent-unix-ns", sent);
    inference::ModelInferResponse response;
    EXPECT_TRUE(stub->ModelInfer(&context, MakeRequest("m", {1, 2}), &response).ok());
    return NextRecord().transit_ns;
  }
  // It is written after the answer has left.
  RequestRecord NextRecord() {
    std::vector<RequestRecord> records;
    WaitUntil([&] {
      log.Drain([&](const RequestRecord& record) { records.push_back(record); },
                [](const ExecutionRecord&) {}, [](const TurnRecord&) {});
      return !records.empty();
    });
    return records.empty() ? RequestRecord() : records.front();
  }
};

TEST_F(TransitTest, IsTheTimeSinceTheClientSentIt) {
  Add("m");
  Start();
  const int64_t transit_ns = TransitOf(std::to_string(clock.UnixNanos() - 5'000'000'000));
  EXPECT_GE(transit_ns, 5'000'000'000);
  EXPECT_LT(transit_ns, 65'000'000'000);
}

TEST_F(TransitTest, IsNotKnownWhereTheClientDoesNotTell) {
  Add("m");
  Start();
  EXPECT_EQ(TransitOf(""), -1);
}

TEST_F(TransitTest, IsNotKnownWhereTheClocksDisagree) {
  Add("m");
  Start();
  EXPECT_EQ(TransitOf(std::to_string(clock.UnixNanos() + 60'000'000'000)), -1);
  EXPECT_EQ(TransitOf(std::to_string(clock.UnixNanos() - 4'000'000'000'000)), -1);
}

TEST_F(TransitTest, IsNotKnownFromWhatIsNoTime) {
  Add("m");
  Start();
  EXPECT_EQ(TransitOf("yesterday"), -1);
  EXPECT_EQ(TransitOf("-5"), -1);
  EXPECT_EQ(TransitOf("99999999999999999999999"), -1);
}

TEST_F(TransitTest, IsOfTheFirstRequestOfAStream) {
  Add("m");
  Start();
  grpc::ClientContext context;
  context.set_deadline(Patience());
  context.AddMetadata("bitmill-sent-unix-ns", std::to_string(clock.UnixNanos() - 5'000'000'000));
  const auto stream = stub->ModelStreamInfer(&context);
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Write(MakeRequest("m", {1, 2})));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_GE(NextRecord().transit_ns, 5'000'000'000);
  ASSERT_TRUE(stream->Write(MakeRequest("m", {1, 2})));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(NextRecord().transit_ns, -1);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

}  // namespace
}  // namespace bitmill
