#include "server/frontend/health.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include <memory>
#include <string>

#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using WatchStream = grpc::ClientReader<HealthCheckResponse>;

class HealthTest : public Serving {
 protected:
  // The status, or -1 for NOT_FOUND.
  int Check(const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const grpc::Status status = health->Check(&context, request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) return -1;
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  }
  std::unique_ptr<WatchStream> Watch(grpc::ClientContext& context, const std::string& service) {
    context.set_deadline(Patience());
    HealthCheckRequest request;
    request.set_service(service);
    return health->Watch(&context, request);
  }
  static int Next(WatchStream& stream) {
    HealthCheckResponse response;
    return stream.Read(&response) ? static_cast<int>(response.status()) : -1;
  }
};

TEST_F(HealthTest, KnowsTheServerItsServicesAndItsModels) {
  Add("m");
  Add("gone");
  ASSERT_TRUE(repository.Unload("gone").ok());
  Start();
  for (const char* const service : {"", "readiness", "liveness", "inference.GRPCInferenceService",
                                    "grpc.health.v1.Health", "m"}) {
    EXPECT_EQ(Check(service), HealthCheckResponse::SERVING) << service;
  }
  EXPECT_EQ(Check("gone"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check("no.such.Service"), -1);
}

TEST_F(HealthTest, SaysNotServingWhileDrainingButStillServes) {
  Add("m");
  Start();
  frontend->BeginDrain();
  for (const char* const service : {"", "readiness", "inference.GRPCInferenceService", "m"}) {
    EXPECT_EQ(Check(service), HealthCheckResponse::NOT_SERVING) << service;
  }
  EXPECT_EQ(Check("liveness"), HealthCheckResponse::SERVING);
  grpc::ClientContext context;
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(stub->ServerReady(&context, {}, &ready).ok());
  EXPECT_FALSE(ready.ready());
  EXPECT_TRUE(Infer(MakeRequest("m", {1, 2})).ok());
}

TEST_F(HealthTest, WatchersSeeEveryChange) {
  Add("m");
  Start();
  grpc::ClientContext contexts[3];
  const auto model = Watch(contexts[0], "m");
  const auto server = Watch(contexts[1], "");
  const auto unknown = Watch(contexts[2], "later");
  EXPECT_EQ(Next(*model), HealthCheckResponse::SERVING);
  EXPECT_EQ(Next(*server), HealthCheckResponse::SERVING);
  EXPECT_EQ(Next(*unknown), HealthCheckResponse::SERVICE_UNKNOWN);

  ASSERT_TRUE(repository.Unload("m").ok());
  EXPECT_EQ(Next(*model), HealthCheckResponse::NOT_SERVING);
  ASSERT_TRUE(repository.Load("m").ok());
  EXPECT_EQ(Next(*model), HealthCheckResponse::SERVING);
  Add("later");
  int status = Next(*unknown);
  // The repository knew the name before the model was ready; a watcher may have looked then.
  if (status == HealthCheckResponse::NOT_SERVING) status = Next(*unknown);
  EXPECT_EQ(status, HealthCheckResponse::SERVING);
  frontend->BeginDrain();
  EXPECT_EQ(Next(*server), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthTest, WatchersLeaveWhileModelsChange) {
  Add("m");
  Start();
  std::atomic<bool> done{false};
  std::thread changes([&] {
    while (!done) {
      EXPECT_TRUE(repository.Unload("m").ok());
      EXPECT_TRUE(repository.Load("m").ok());
    }
  });
  for (int i = 0; i < 200; ++i) {
    grpc::ClientContext context;
    const auto watch = Watch(context, "m");
    EXPECT_NE(Next(*watch), -1);
    context.TryCancel();
    while (Next(*watch) != -1) {
    }
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  done = true;
  changes.join();
}

TEST_F(HealthTest, WatchersDoNotHoldUpAShutdown) {
  Start();
  grpc::ClientContext context;
  const auto watch = Watch(context, "");
  EXPECT_EQ(Next(*watch), HealthCheckResponse::SERVING);
  const absl::Time start = absl::Now();
  frontend->Shutdown(start + absl::Seconds(60));
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
  while (Next(*watch) != -1) {
  }
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace bitmill
