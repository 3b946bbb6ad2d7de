// A whole server in the test's process, on a loopback port, with identity models.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "proto/health.grpc.pb.h"
#include "proto/inference.grpc.pb.h"
#include "server/engine/batching_engine.h"
#include "server/frontend/grpc_server.h"
#include "server/metrics/request_log.h"
#include "server/schedule/tbb_scheduler.h"
#include "tests/fakes/fake_repository.h"

namespace bitmill {

// Holds back executions: each Run waits until Open().
class Gate {
 public:
  void Open() { opened_.set_value(); }
  // For FakeExecutable::before_run.
  absl::Status Pass() {
    entered.fetch_add(1);
    future_.wait();
    return absl::OkStatus();
  }
  std::atomic<int> entered{0};

 private:
  std::promise<void> opened_;
  std::shared_future<void> future_ = opened_.get_future().share();
};

// Everything waits at most this long before a test fails instead of hanging.
inline std::chrono::system_clock::time_point Patience() {
  return std::chrono::system_clock::now() + std::chrono::seconds(60);
}

class Serving : public ::testing::Test {
 protected:
  static constexpr int64_t kMaxRows = 8;

  // Models are added first; the server starts with the first stub.
  void Add(const std::string& name,
           std::function<void(ServedModel&, FakeExecutable&)> change = {}) {
    const absl::Status status = repository.Add(name, [name, change] {
      auto executable =
          std::make_unique<FakeExecutable>(IdentitySignature(DType::kInt32, {2}), kMaxRows);
      FakeExecutable& reference = *executable;
      std::unique_ptr<ServedModel> model = MakeServedModel(name, 1, std::move(executable));
      model->settings.warmup_requests = 0;
      if (change) change(*model, reference);
      return model;
    });
    ASSERT_TRUE(status.ok()) << status;
  }
  // A model whose executions wait, one at a time.
  void AddGated(const std::string& name, std::function<void(ServedModel&)> change = {}) {
    Add(name, [this, change](ServedModel& model, FakeExecutable& executable) {
      executable.before_run = [this](const BatchRows&) { return gate.Pass(); };
      model.settings.instances = 1;
      if (change) change(model);
    });
  }

  void Start() {
    options.host = "127.0.0.1";
    options.port = 0;
    auto started = GrpcFrontend::Start(options, repository, *engine, *metrics, clock, services);
    ASSERT_TRUE(started.ok()) << started.status();
    frontend = *std::move(started);
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(frontend->port()),
                                  grpc::InsecureChannelCredentials());
    stub = inference::GRPCInferenceService::NewStub(channel);
    health = grpc::health::v1::Health::NewStub(channel);
  }

  static inference::ModelInferRequest MakeRequest(const std::string& model,
                                                  const std::vector<int32_t>& values,
                                                  const std::string& id = "") {
    inference::ModelInferRequest request;
    request.set_model_name(model);
    request.set_id(id);
    auto& input = *request.add_inputs();
    input.set_name("x");
    input.set_datatype("INT32");
    input.add_shape(static_cast<int64_t>(values.size() / 2));
    input.add_shape(2);
    request.add_raw_input_contents(values.data(), values.size() * sizeof(int32_t));
    return request;
  }

  grpc::Status Infer(const inference::ModelInferRequest& request,
                     inference::ModelInferResponse& response) {
    grpc::ClientContext context;
    context.set_deadline(Patience());
    return stub->ModelInfer(&context, request, &response);
  }
  grpc::Status Infer(const inference::ModelInferRequest& request) {
    inference::ModelInferResponse response;
    return Infer(request, response);
  }
  // The call on a thread of its own; its status when it ends.
  std::future<grpc::Status> InferLater(const std::string& model, std::vector<int32_t> values) {
    return std::async(std::launch::async, [this, model, values = std::move(values)] {
      inference::ModelInferResponse response;
      const inference::ModelInferRequest request = MakeRequest(model, values);
      const grpc::Status status = Infer(request, response);
      if (status.ok()) {
        EXPECT_EQ(response.raw_output_contents(0), request.raw_input_contents(0));
      }
      return status;
    });
  }
  static void WaitUntil(const std::function<bool()>& condition) {
    const auto end = Patience();
    while (!condition()) {
      ASSERT_LT(std::chrono::system_clock::now(), end) << "waited in vain";
      std::this_thread::yield();
    }
  }

  Gate gate;       // outlives the work that passes it
  RequestLog log;  // outlives the server, which writes into it where `services` names it
  const SystemClock clock{};
  FrontendOptions options;
  FrontendServices services;
  std::unique_ptr<ServerMetrics> metrics = CreateServerMetrics({});
  std::unique_ptr<Scheduler> scheduler = CreateTbbScheduler({.workers = 2, .io_threads = 2}, clock);
  std::unique_ptr<Engine> engine =
      CreateBatchingEngine({.inline_limit_ns = 0}, *scheduler, *metrics, clock);
  FakeRepository repository{engine->runtime_factory()};
  std::unique_ptr<GrpcFrontend> frontend;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<inference::GRPCInferenceService::Stub> stub;
  std::unique_ptr<grpc::health::v1::Health::Stub> health;
};

}  // namespace bitmill
