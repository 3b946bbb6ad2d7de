// What a traced request leaves behind, through the whole server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/tracing/tracer.h"
#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

constexpr char kTrace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

class LockedSink final : public TraceSink {
 public:
  void Add(TracedRequest request) override {
    MutexLock lock(&mutex_);
    requests_.push_back(std::move(request));
  }
  std::vector<TracedRequest> requests() const {
    MutexLock lock(&mutex_);
    return requests_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<TracedRequest> requests_ ABSL_GUARDED_BY(mutex_);
};

using Metadata = std::vector<std::pair<std::string, std::string>>;

class InferTraceTest : public Serving {
 protected:
  void StartTraced() {
    services.tracer = &tracer;
    Add("m");
    Start();
  }
  grpc::Status InferWith(const Metadata& metadata, const std::string& model = "m") {
    grpc::ClientContext context;
    context.set_deadline(Patience());
    for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
    inference::ModelInferResponse response;
    return stub->ModelInfer(&context, MakeRequest(model, {1, 2, 3, 4}), &response);
  }

  LockedSink sink;  // these outlive the server
  Tracer tracer{0, 1, sink, clock};

 private:
  void TearDown() override { frontend = nullptr; }
};

TEST_F(InferTraceTest, RemembersARequestWithItsStages) {
  StartTraced();
  const int64_t before = clock.UnixNanos();
  EXPECT_TRUE(
      InferWith({{"traceparent", kTrace}, {"tracestate", "a=1"}, {"tracestate", "b=2"}}).ok());
  ASSERT_EQ(sink.requests().size(), 1U);
  const TracedRequest request = sink.requests()[0];
  EXPECT_EQ(request.trace.Hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(request.parent_span, 0x00f067aa0ba902b7U);
  EXPECT_THAT(request.state, ::testing::AnyOf("a=1,b=2", "a=1, b=2"));
  EXPECT_STREQ(request.method, "ModelInfer");
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.version, 1);
  EXPECT_EQ(request.rows, 2);
  EXPECT_EQ(request.batch_rows, 2);
  EXPECT_EQ(request.code, absl::StatusCode::kOk);
  EXPECT_GE(request.received_ns + request.unix_minus_monotonic_ns, before - 1'000'000);
  EXPECT_LT(request.received_ns, request.queued_ns);
  EXPECT_LT(request.queued_ns, request.computed_ns);
  EXPECT_LE(request.computed_ns, request.finished_ns);
  EXPECT_GT(request.stages[Stage::kDecode], 0);
  EXPECT_GT(request.stages[Stage::kCompute], 0);
}

TEST_F(InferTraceTest, TracesOnlyWhatItsCallerWantsTraced) {
  StartTraced();
  EXPECT_TRUE(InferWith({}).ok());
  EXPECT_TRUE(InferWith({{"traceparent", std::string(kTrace, 53) + "00"}}).ok());
  EXPECT_TRUE(InferWith({{"traceparent", "nonsense"}}).ok());
  EXPECT_TRUE(InferWith({{"traceparent", kTrace}, {"traceparent", kTrace}}).ok());
  EXPECT_TRUE(sink.requests().empty());
}

TEST_F(InferTraceTest, DoesNotPassOnAStateThatIsTooLong) {
  StartTraced();
  EXPECT_TRUE(
      InferWith({{"traceparent", kTrace}, {"tracestate", "a=" + std::string(511, 'x')}}).ok());
  ASSERT_EQ(sink.requests().size(), 1U);
  EXPECT_EQ(sink.requests()[0].state, "");
}

TEST_F(InferTraceTest, RemembersWhyARequestFailed) {
  StartTraced();
  EXPECT_FALSE(InferWith({{"traceparent", kTrace}}, "nobody").ok());
  ASSERT_EQ(sink.requests().size(), 1U);
  const TracedRequest request = sink.requests()[0];
  EXPECT_EQ(request.code, absl::StatusCode::kNotFound);
  EXPECT_THAT(request.error, HasSubstr("nobody"));
  EXPECT_EQ(request.model, "");
  EXPECT_EQ(request.queued_ns, 0);
  EXPECT_EQ(request.computed_ns, 0);
  EXPECT_EQ(request.batch_rows, 0);
}

TEST_F(InferTraceTest, EachRequestOfAStreamBelongsToTheStreamsTrace) {
  StartTraced();
  grpc::ClientContext context;
  context.set_deadline(Patience());
  context.AddMetadata("traceparent", kTrace);
  const auto stream = stub->ModelStreamInfer(&context);
  inference::ModelStreamInferResponse response;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(stream->Write(MakeRequest("m", {i, i})));
    ASSERT_TRUE(stream->Read(&response));
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  const std::vector<TracedRequest> requests = sink.requests();
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_EQ(requests[0].trace.Hex(), requests[1].trace.Hex());
  EXPECT_EQ(requests[0].parent_span, requests[1].parent_span);
  EXPECT_NE(requests[0].span, requests[1].span);
  EXPECT_STREQ(requests[0].method, "ModelStreamInfer");
}

TEST_F(InferTraceTest, RequestsOfOneBatchHaveItsEndInCommon) {
  services.tracer = &tracer;
  AddGated("m");
  Start();
  std::future<grpc::Status> first = InferLater("m", {0, 0});
  WaitUntil([this] { return gate.entered == 1; });
  std::vector<std::future<grpc::Status>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(std::async(std::launch::async, [this] {
      return InferWith({{"traceparent", kTrace}});
    }));
  }
  ModelMetrics& counts = engine->MetricsOf(**repository.Find("m", 0));
  WaitUntil([&counts] { return counts.queue_depth == 3; });
  gate.Open();
  EXPECT_TRUE(first.get().ok());
  for (std::future<grpc::Status>& call : calls) EXPECT_TRUE(call.get().ok());
  const std::vector<TracedRequest> requests = sink.requests();
  ASSERT_EQ(requests.size(), 3U);
  for (const TracedRequest& request : requests) {
    EXPECT_EQ(request.computed_ns, requests[0].computed_ns);
    EXPECT_EQ(request.batch_rows, 6);
    EXPECT_GT(request.stages[Stage::kQueue], 0);
  }
}

}  // namespace
}  // namespace bitmill
