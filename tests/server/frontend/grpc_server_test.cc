#include "server/frontend/grpc_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GrpcServerTest : public Serving {
 protected:
  inference::ModelStatistics Statistics(const std::string& model) {
    grpc::ClientContext context;
    inference::ModelStatisticsRequest request;
    request.set_name(model);
    inference::ModelStatisticsResponse response;
    EXPECT_TRUE(stub->ModelStatistics(&context, request, &response).ok());
    return response.model_stats(0);
  }
};

TEST_F(GrpcServerTest, AnswersARequest) {
  Add("m");
  Start();
  inference::ModelInferResponse response;
  const grpc::Status status = Infer(MakeRequest("m", {1, 2, 3, 4}, "id-1"), response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model_name(), "m");
  EXPECT_EQ(response.model_version(), "1");
  EXPECT_EQ(response.id(), "id-1");
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(2, 2));
  const std::vector<int32_t> wanted = {1, 2, 3, 4};
  EXPECT_EQ(response.raw_output_contents(0),
            std::string(reinterpret_cast<const char*>(wanted.data()), 16));
}

TEST_F(GrpcServerTest, AnswersAModelWithATinyOutput) {
  // So small that gRPC keeps the answer's bytes inside the slice itself.
  repository
      .Add("t",
           [] {
             return MakeServedModel(
                 "t", 1,
                 std::make_unique<FakeExecutable>(IdentitySignature(DType::kInt8, {}, false), 1));
           })
      .IgnoreError();
  Start();
  inference::ModelInferRequest request;
  request.set_model_name("t");
  request.add_inputs()->set_name("x");
  request.mutable_inputs(0)->set_datatype("INT8");
  request.add_raw_input_contents("\x2A");
  inference::ModelInferResponse response;
  ASSERT_TRUE(Infer(request, response).ok());
  EXPECT_EQ(response.raw_output_contents(0), "\x2A");
}

TEST_F(GrpcServerTest, RefusesWithTheReason) {
  Add("m");
  Start();
  inference::ModelInferRequest request = MakeRequest("m", {1, 2});
  request.mutable_inputs(0)->set_datatype("FP32");
  const grpc::Status status = Infer(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("input 'x' has datatype 'FP32'"));
  EXPECT_EQ(Infer(MakeRequest("nobody", {1, 2})).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(GrpcServerTest, CountsRequestsRowsAndFailures) {
  Add("m");
  Start();
  EXPECT_TRUE(Infer(MakeRequest("m", {1, 2, 3, 4})).ok());
  inference::ModelInferRequest bad = MakeRequest("m", {1, 2});
  bad.mutable_raw_input_contents(0)->pop_back();
  EXPECT_FALSE(Infer(bad).ok());
  const inference::ModelStatistics counts = Statistics("m");
  EXPECT_EQ(counts.inference_count(), 2U);
  EXPECT_EQ(counts.execution_count(), 1U);
  EXPECT_EQ(counts.inference_stats().success().count(), 1U);
  EXPECT_EQ(counts.inference_stats().fail().count(), 1U);
  EXPECT_GE(counts.inference_stats().success().ns(), counts.inference_stats().queue().ns());
}

TEST_F(GrpcServerTest, NeverMixesUpAnswers) {
  options.io_threads = 2;
  Add("m");
  Start();
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([this, c] {
      for (int i = 0; i < 200; ++i) {
        const inference::ModelInferRequest request = MakeRequest(
            "m", std::vector<int32_t>(static_cast<size_t>(2 * (1 + i % 3)), c * 1000 + i));
        inference::ModelInferResponse response;
        ASSERT_TRUE(Infer(request, response).ok());
        ASSERT_EQ(response.raw_output_contents(0), request.raw_input_contents(0));
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(GrpcServerTest, RefusesWhenTheQueueIsFullAndSaysWhenToComeBack) {
  AddGated("m", [](ServedModel& model) { model.settings.batch.max_queue_requests = 1; });
  Start();
  std::future<grpc::Status> running = InferLater("m", {1, 1});
  WaitUntil([this] { return gate.entered == 1; });
  std::future<grpc::Status> waiting = InferLater("m", {2, 2});
  ModelMetrics& counts = engine->MetricsOf(**repository.Find("m", 0));
  WaitUntil([&counts] { return counts.queue_depth == 1; });

  grpc::ClientContext context;
  inference::ModelInferResponse response;
  const grpc::Status refused = stub->ModelInfer(&context, MakeRequest("m", {3, 3}), &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1U);
  gate.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(waiting.get().ok());
}

TEST_F(GrpcServerTest, NeverComputesWhatTheClientGaveUpOn) {
  AddGated("m");
  Start();
  std::future<grpc::Status> running = InferLater("m", {1, 1});
  WaitUntil([this] { return gate.entered == 1; });
  grpc::ClientContext late;
  late.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(30));
  inference::ModelInferResponse response;
  EXPECT_EQ(stub->ModelInfer(&late, MakeRequest("m", {2, 2}), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  grpc::ClientContext cancelled;
  std::future<grpc::Status> call = std::async(std::launch::async, [&] {
    inference::ModelInferResponse unused;
    return stub->ModelInfer(&cancelled, MakeRequest("m", {3, 3}), &unused);
  });
  ModelMetrics& counts = engine->MetricsOf(**repository.Find("m", 0));
  WaitUntil([&counts] { return counts.in_flight == 3; });
  cancelled.TryCancel();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::CANCELLED);
  // A call after the cancelled one on the same connection: the server has seen both.
  EXPECT_EQ(Statistics("m").execution_count(), 0U);
  gate.Open();
  EXPECT_TRUE(running.get().ok());
  WaitUntil([&counts] { return counts.in_flight == 0; });
  EXPECT_EQ(Statistics("m").execution_count(), 1U);
  EXPECT_EQ(gate.entered, 1);
}

TEST_F(GrpcServerTest, RefusesMessagesBeyondItsLimit) {
  options.max_receive_bytes = 1'000;
  Add("m");
  Start();
  EXPECT_EQ(Infer(MakeRequest("m", std::vector<int32_t>(1'000))).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Infer(MakeRequest("m", {1, 2})).ok());
}

TEST_F(GrpcServerTest, BoundsTheBytesOfAllRequestsInFlight) {
  options.max_in_flight_bytes = 150;
  AddGated("m");
  Start();
  std::future<grpc::Status> running = InferLater("m", {1, 1});
  WaitUntil([this] { return gate.entered == 1; });
  const grpc::Status refused = Infer(MakeRequest("m", std::vector<int32_t>(16)));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("the limit is 150"));
  gate.Open();
  EXPECT_TRUE(running.get().ok());
}

TEST_F(GrpcServerTest, DescribesItselfAndItsModels) {
  Add("m");
  Start();
  grpc::ClientContext contexts[4];
  inference::ServerMetadataResponse server;
  ASSERT_TRUE(stub->ServerMetadata(&contexts[0], {}, &server).ok());
  EXPECT_EQ(server.name(), "bitmill");
  EXPECT_THAT(server.extensions(), ElementsAre("model_repository", "schedule_policy",
                                               "model_configuration", "statistics"));
  inference::ModelMetadataRequest metadata_request;
  metadata_request.set_name("m");
  inference::ModelMetadataResponse metadata;
  ASSERT_TRUE(stub->ModelMetadata(&contexts[1], metadata_request, &metadata).ok());
  EXPECT_THAT(metadata.inputs(0).shape(), ElementsAre(-1, 2));
  EXPECT_THAT(metadata.versions(), ElementsAre("1"));
  inference::ModelConfigRequest config_request;
  config_request.set_name("m");
  inference::ModelConfigResponse config;
  ASSERT_TRUE(stub->ModelConfig(&contexts[2], config_request, &config).ok());
  EXPECT_EQ(config.config().max_batch_size(), kMaxRows);
  inference::ModelReadyRequest ready_request;
  ready_request.set_name("m");
  ready_request.set_version("2");
  inference::ModelReadyResponse ready;
  ASSERT_TRUE(stub->ModelReady(&contexts[3], ready_request, &ready).ok());
  EXPECT_FALSE(ready.ready());
}

TEST_F(GrpcServerTest, LoadsAndUnloadsByOnePathComponentOnly) {
  Add("m");
  Start();
  for (const std::string& name : {std::string(".."), std::string("a/b"), std::string("a\\b"),
                                  std::string("/m"), std::string("m\0x", 3), std::string()}) {
    grpc::ClientContext context;
    inference::RepositoryModelLoadRequest request;
    request.set_model_name(name);
    inference::RepositoryModelLoadResponse response;
    EXPECT_EQ(stub->RepositoryModelLoad(&context, request, &response).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT)
        << name;
  }
  grpc::ClientContext unload;
  inference::RepositoryModelUnloadRequest request;
  request.set_model_name("m");
  inference::RepositoryModelUnloadResponse response;
  EXPECT_TRUE(stub->RepositoryModelUnload(&unload, request, &response).ok());
  EXPECT_EQ(Infer(MakeRequest("m", {1, 2})).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(GrpcServerTest, ServesWhileAModelTakesLongToLoad) {
  Add("m");
  std::promise<void> loading;
  std::promise<void> go_on;
  std::atomic<bool> slow{false};
  Add("slow", [&](ServedModel&, FakeExecutable&) {
    if (!slow) return;
    loading.set_value();
    go_on.get_future().wait();
  });
  slow = true;
  Start();
  std::future<grpc::Status> load = std::async(std::launch::async, [this] {
    grpc::ClientContext context;
    inference::RepositoryModelLoadRequest request;
    request.set_model_name("slow");
    inference::RepositoryModelLoadResponse response;
    return stub->RepositoryModelLoad(&context, request, &response);
  });
  loading.get_future().wait();
  EXPECT_TRUE(Infer(MakeRequest("m", {1, 2})).ok());
  EXPECT_TRUE(Infer(MakeRequest("slow", {1, 2})).ok()) << "the old version serves meanwhile";
  go_on.set_value();
  EXPECT_TRUE(load.get().ok());
}

TEST_F(GrpcServerTest, SaysWhichExtensionIsMissing) {
  Start();
  grpc::ClientContext contexts[2];
  inference::SystemSharedMemoryStatusResponse regions;
  const grpc::Status shared = stub->SystemSharedMemoryStatus(&contexts[0], {}, &regions);
  EXPECT_EQ(shared.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(shared.error_message(), HasSubstr("shared memory"));
  inference::TraceSettingResponse settings;
  EXPECT_EQ(stub->TraceSetting(&contexts[1], {}, &settings).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(GrpcServerTest, RefusesAnAddressInUse) {
  Start();
  FrontendOptions second = options;
  second.port = frontend->port();
  const absl::Status status =
      GrpcFrontend::Start(second, repository, *engine, *metrics, clock).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(second.port)));
}

TEST_F(GrpcServerTest, FinishesWhatIsInFlightWhenItShutsDown) {
  AddGated("m");
  Start();
  std::future<grpc::Status> running = InferLater("m", {1, 1});
  WaitUntil([this] { return gate.entered == 1; });
  std::future<void> shutdown = std::async(
      std::launch::async, [this] { frontend->Shutdown(absl::Now() + absl::Seconds(60)); });
  gate.Open();
  EXPECT_TRUE(running.get().ok());
  shutdown.get();
}

TEST_F(GrpcServerTest, CancelsWhatIsNotFinishedByTheDeadline) {
  AddGated("m");
  Start();
  std::future<grpc::Status> running = InferLater("m", {1, 1});
  WaitUntil([this] { return gate.entered == 1; });
  std::future<void> shutdown = std::async(
      std::launch::async, [this] { frontend->Shutdown(absl::Now() + absl::Milliseconds(50)); });
  EXPECT_FALSE(running.get().ok());
  gate.Open();  // the execution itself cannot be broken off
  shutdown.get();
}

}  // namespace
}  // namespace bitmill
