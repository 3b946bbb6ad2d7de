#include "server/frontend/infer_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using Stream =
    grpc::ClientReaderWriter<inference::ModelInferRequest, inference::ModelStreamInferResponse>;

class InferStreamTest : public Serving {
 protected:
  std::unique_ptr<Stream> Open() {
    context.set_deadline(Patience());
    return stub->ModelStreamInfer(&context);
  }
  grpc::ClientContext context;
};

TEST_F(InferStreamTest, AnswersInTheOrderOfTheRequests) {
  Add("m");
  Add("n");
  Start();
  const std::unique_ptr<Stream> stream = Open();
  constexpr int kRequests = 500;
  std::thread writer([&] {
    for (int i = 0; i < kRequests; ++i) {
      ASSERT_TRUE(stream->Write(MakeRequest(i % 3 == 0 ? "n" : "m", {i, -i}, std::to_string(i))));
    }
    stream->WritesDone();
  });
  inference::ModelStreamInferResponse response;
  int next = 0;
  while (stream->Read(&response)) {
    EXPECT_EQ(response.error_message(), "");
    EXPECT_EQ(response.infer_response().id(), std::to_string(next));
    int32_t value = 0;
    std::memcpy(&value, response.infer_response().raw_output_contents(0).data(), sizeof(value));
    EXPECT_EQ(value, next);
    ++next;
  }
  writer.join();
  EXPECT_EQ(next, kRequests);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferStreamTest, SurvivesBadRequestsAndNamesThem) {
  Add("m");
  Start();
  const std::unique_ptr<Stream> stream = Open();
  inference::ModelInferRequest bad = MakeRequest("m", {1, 2}, "bad");
  bad.mutable_raw_input_contents(0)->pop_back();
  for (const auto& request :
       {MakeRequest("m", {1, 2}, "a"), bad, MakeRequest("nobody", {1, 2}, "lost"),
        MakeRequest("m", {3, 4}, "b")}) {
    ASSERT_TRUE(stream->Write(request));
  }
  stream->WritesDone();
  std::vector<std::string> ids;
  std::vector<std::string> errors;
  inference::ModelStreamInferResponse response;
  while (stream->Read(&response)) {
    ids.push_back(response.infer_response().id());
    errors.push_back(response.error_message());
  }
  EXPECT_THAT(ids, ::testing::ElementsAre("a", "bad", "lost", "b"));
  EXPECT_THAT(errors, ::testing::ElementsAre("", HasSubstr("'x'"), HasSubstr("nobody"), ""));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferStreamTest, StopsReadingWhenAnswersPileUp) {
  options.stream_window = 3;
  AddGated("m");
  Start();
  const std::unique_ptr<Stream> stream = Open();
  constexpr int kRequests = 10;
  for (int i = 0; i < kRequests; ++i) {
    ASSERT_TRUE(stream->Write(MakeRequest("m", {i, i}, std::to_string(i))));
  }
  stream->WritesDone();
  ModelMetrics& counts = engine->MetricsOf(**repository.Find("m", 0));
  WaitUntil([&counts] { return counts.in_flight == 3; });
  // Another call's round trip: whatever the server meant to read it has read by then.
  grpc::ClientContext other;
  inference::ServerLiveResponse live;
  ASSERT_TRUE(stub->ServerLive(&other, {}, &live).ok());
  EXPECT_EQ(counts.in_flight, 3);
  gate.Open();
  inference::ModelStreamInferResponse response;
  int answers = 0;
  while (stream->Read(&response)) ++answers;
  EXPECT_EQ(answers, kRequests);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferStreamTest, EndsCleanlyWithoutARequest) {
  Start();
  const std::unique_ptr<Stream> stream = Open();
  stream->WritesDone();
  inference::ModelStreamInferResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferStreamTest, ACancelledStreamComputesNothingMore) {
  AddGated("m", [](ServedModel& model) { model.settings.batch.dynamic = false; });
  Start();
  const std::unique_ptr<Stream> stream = Open();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(stream->Write(MakeRequest("m", {i, i})));
  ModelMetrics& counts = engine->MetricsOf(**repository.Find("m", 0));
  WaitUntil([&] { return counts.in_flight == 5 && gate.entered == 1; });
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  grpc::ClientContext other;
  inference::ServerLiveResponse live;
  ASSERT_TRUE(stub->ServerLive(&other, {}, &live).ok());
  gate.Open();
  WaitUntil([&counts] { return counts.in_flight == 0; });
  EXPECT_EQ(gate.entered, 1);
}

TEST_F(InferStreamTest, DoesNotHoldUpAShutdownWhenIdle) {
  Add("m");
  Start();
  const std::unique_ptr<Stream> stream = Open();
  ASSERT_TRUE(stream->Write(MakeRequest("m", {1, 2})));
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  const absl::Time start = absl::Now();
  frontend->Shutdown(start + absl::Seconds(60));
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(InferStreamTest, AnswersWhatItHasReadBeforeItShutsDown) {
  AddGated("m");
  Start();
  const std::unique_ptr<Stream> stream = Open();
  ASSERT_TRUE(stream->Write(MakeRequest("m", {1, 2}, "last")));
  WaitUntil([this] { return gate.entered == 1; });
  std::future<void> shutdown = std::async(
      std::launch::async, [this] { frontend->Shutdown(absl::Now() + absl::Seconds(60)); });
  gate.Open();
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.infer_response().id(), "last");
  EXPECT_FALSE(stream->Read(&response));
  shutdown.get();
}

}  // namespace
}  // namespace bitmill
