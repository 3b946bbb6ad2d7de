// The load generator against a real gRPC server in this process.
#include "tools/load/load_runner.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/inference.grpc.pb.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

// Answers with the raw input as FP32 output; model "broken" fails, "fickle" changes its answer,
// "stuck" waits until the call is cancelled.
class Server final : public inference::GRPCInferenceService::Service {
 public:
  Server() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Server() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int64_t calls() const { return calls_; }

  grpc::Status ModelInfer(grpc::ServerContext* context, const inference::ModelInferRequest* request,
                          inference::ModelInferResponse* response) override {
    const int64_t call = ++calls_;
    if (request->model_name() == "broken") {
      return {grpc::StatusCode::INVALID_ARGUMENT, "no such thing"};
    }
    while (request->model_name() == "stuck" && !context->IsCancelled()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    response->set_model_name(request->model_name());
    auto* output = response->add_outputs();
    output->set_name("y");
    output->set_datatype("UINT8");
    output->add_shape(1);
    output->add_shape(static_cast<int64_t>(request->raw_input_contents(0).size()));
    std::string contents = request->raw_input_contents(0);
    if (request->model_name() == "fickle") contents[0] = static_cast<char>(call % 100);
    *response->add_raw_output_contents() = contents;
    return grpc::Status::OK;
  }

 private:
  std::atomic<int64_t> calls_{0};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

LoadModel Model(const std::string& name, double weight = 1.0) {
  LoadModel model{name, weight, {}};
  for (const char* row : {"\x01\x02\x03", "\x09\x02\x03"}) {
    inference::ModelInferRequest request;
    request.set_model_name(name);
    request.add_raw_input_contents(row);
    model.requests.push_back({request.SerializeAsString(), 1, {}});
  }
  return model;
}

LoadSettings Settings(const Server& server) {
  LoadSettings settings;
  settings.address = server.address();
  settings.warmup_seconds = 0.05;
  settings.duration_seconds = 0.3;
  return settings;
}

LoadResult Measure(const LoadSettings& settings, std::vector<LoadModel> models,
                   const LoadPoint& point) {
  auto runner = LoadRunner::Create(settings, std::move(models));
  EXPECT_TRUE(runner.ok()) << runner.status();
  return (*runner)->Run(point, nullptr);
}

TEST(LoadRunnerTest, ClosedLoopCountsWhatTheServerAnswered) {
  const Server server;
  const LoadResult result = Measure(Settings(server), {Model("a")}, {.concurrency = 3});
  EXPECT_GT(result.total.requests, 10);
  EXPECT_LE(result.total.requests, server.calls());
  EXPECT_EQ(result.total.error_count(), 0);
  EXPECT_EQ(result.total.latency.count, result.total.requests);
  EXPECT_GT(result.total.latency.min_ns, 0);
  EXPECT_NEAR(result.seconds, 0.3, 0.1);
  EXPECT_NEAR(result.requests_per_second,
              static_cast<double>(result.total.requests) / result.seconds, 1.0);
}

TEST(LoadRunnerTest, ASecondRunStartsFromZero) {
  const Server server;
  auto runner = LoadRunner::Create(Settings(server), {Model("a")});
  ASSERT_TRUE(runner.ok()) << runner.status();
  const LoadResult first = (*runner)->Run({.concurrency = 2}, nullptr);
  const LoadResult second = (*runner)->Run({.concurrency = 2}, nullptr);
  EXPECT_EQ(second.total.latency.count, second.total.requests);
  EXPECT_LE(first.total.requests + second.total.requests, server.calls());
}

TEST(LoadRunnerTest, OpenLoopSendsWhatTheScheduleSays) {
  const Server server;
  LoadPoint point{.concurrency = 64, .rate = 200.0, .arrivals = ArrivalKind::kConstant};
  const LoadResult result = Measure(Settings(server), {Model("a")}, point);
  // 0.3 s at 200 a second; the last ones may fall out of the window.
  EXPECT_NEAR(static_cast<double>(result.total.requests), 60.0, 2.0);
  EXPECT_EQ(result.send_lag.count, result.total.requests);
}

TEST(LoadRunnerTest, OpenLoopChargesTheWaitForASlot) {
  const Server server;
  LoadSettings settings = Settings(server);
  settings.timeout_seconds = 0.05;
  // One slot and a server that never answers: each request waits for the ones before it.
  LoadPoint point{.concurrency = 1, .rate = 50.0, .arrivals = ArrivalKind::kConstant};
  const LoadResult result = Measure(settings, {Model("stuck")}, point);
  EXPECT_EQ(result.total.requests, 0);
  EXPECT_GT(result.total.errors.at("DEADLINE_EXCEEDED"), 0);
  EXPECT_GT(result.send_lag.max_ns, 50'000'000);
}

TEST(LoadRunnerTest, FailuresAreCountedByCode) {
  const Server server;
  const LoadResult result = Measure(Settings(server), {Model("broken")}, {.concurrency = 2});
  EXPECT_EQ(result.total.requests, 0);
  EXPECT_GT(result.total.errors.at("INVALID_ARGUMENT"), 0);
  EXPECT_THAT(result.total.first_error, HasSubstr("no such thing"));
}

TEST(LoadRunnerTest, CheckFindsAnswersThatChange) {
  const Server server;
  LoadSettings settings = Settings(server);
  settings.check = true;
  EXPECT_EQ(Measure(settings, {Model("a")}, {.concurrency = 2}).total.error_count(), 0);
  const LoadResult result = Measure(settings, {Model("fickle")}, {.concurrency = 2});
  EXPECT_GT(result.total.errors.at("MISMATCH"), 0);
}

TEST(LoadRunnerTest, LabelsGiveAccuracy) {
  const Server server;
  LoadModel model = Model("a");
  model.requests[0].labels = {2};  // 1, 2, 3: the last is the largest
  model.requests[1].labels = {2};  // 9, 2, 3: it is not
  const LoadResult result = Measure(Settings(server), {model}, {.concurrency = 1});
  EXPECT_EQ(result.total.labelled_rows, result.total.requests);
  EXPECT_NEAR(static_cast<double>(result.total.correct_rows),
              static_cast<double>(result.total.labelled_rows) / 2.0, 1.0);
}

TEST(LoadRunnerTest, WeightsShareTheRequests) {
  const Server server;
  const LoadResult result =
      Measure(Settings(server), {Model("a", 3.0), Model("b", 1.0)}, {.concurrency = 2});
  ASSERT_EQ(result.models.size(), 2u);
  const double share =
      static_cast<double>(result.models[0].requests) / static_cast<double>(result.total.requests);
  EXPECT_NEAR(share, 0.75, 0.1);
  EXPECT_EQ(result.models[0].requests + result.models[1].requests, result.total.requests);
}

TEST(LoadRunnerTest, NoServerIsAClearError) {
  std::string address;
  {
    const Server server;
    address = server.address();
  }
  LoadSettings settings;
  settings.address = address;
  const auto runner = LoadRunner::Create(settings, {Model("a")});
  EXPECT_TRUE(absl::IsUnavailable(runner.status()));
  EXPECT_THAT(runner.status().message(), HasSubstr(address));
}

}  // namespace
}  // namespace bitmill
