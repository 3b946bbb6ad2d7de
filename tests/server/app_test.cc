#include "server/app.h"

#include <signal.h>
#include <unistd.h>

#include <functional>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/shutdown_signal.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

ServeOptions Valid() {
  ServeOptions options;
  options.model_repository = "models";
  return options;
}

TEST(ServeOptionsTest, TheDefaultsAreValid) {
  EXPECT_TRUE(CheckServeOptions(Valid()).ok()) << CheckServeOptions(Valid());
}

struct WrongOption {
  std::function<void(ServeOptions&)> change;
  const char* named;
};

class WrongOptionTest : public ::testing::TestWithParam<WrongOption> {};

TEST_P(WrongOptionTest, IsNamedWithTheValueSeen) {
  ServeOptions options = Valid();
  GetParam().change(options);
  const absl::Status status = CheckServeOptions(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().named));
}

INSTANTIATE_TEST_SUITE_P(
    All, WrongOptionTest,
    ::testing::Values(
        WrongOption{[](ServeOptions& o) { o.model_control_mode = "auto"; }, "'auto'"},
        WrongOption{[](ServeOptions& o) { o.load_models = {"m"}; }, "explicit mode"},
        WrongOption{[](ServeOptions& o) { o.grpc_port = 65536; }, "gRPC port 65536"},
        WrongOption{[](ServeOptions& o) { o.memory_budget = "lots"; }, "memory budget 'lots'"},
        WrongOption{[](ServeOptions& o) { o.device_memory_budget = "-1 GiB"; },
                    "memory budget '-1 GiB'"},
        WrongOption{[](ServeOptions& o) { o.power_max_watts = -5; }, "power limit -5 W"},
        WrongOption{[](ServeOptions& o) { o.power_prefer = "luck"; }, "power preference 'luck'"},
        WrongOption{[](ServeOptions& o) { o.power_core_watts = "four"; }, "watts of a CPU 'four'"},
        WrongOption{[](ServeOptions& o) { o.power_core_watts = "4,1"; }, "busy at least idle"},
        WrongOption{[](ServeOptions& o) {
                      o.power_prefer = "efficiency";
                      o.analysis = false;
                    },
                    "need the analysis"},
        WrongOption{[](ServeOptions& o) { o.metrics_port = -1; }, "metrics port -1"},
        WrongOption{[](ServeOptions& o) { o.metrics_compat = "tfs"; }, "compatibility 'tfs'"},
        WrongOption{[](ServeOptions& o) { o.poll_seconds = 0; }, "poll period 0"},
        WrongOption{[](ServeOptions& o) { o.max_batch_rows = 1'000'000; }, "batch rows 1000000"},
        WrongOption{[](ServeOptions& o) { o.max_message_mib = 4096; }, "message MiB 4096"},
        WrongOption{[](ServeOptions& o) { o.max_model_mib = 0; }, "model file MiB 0"},
        WrongOption{[](ServeOptions& o) { o.io_threads = -2; }, "I/O threads -2"},
        WrongOption{[](ServeOptions& o) { o.cpu_budget = -1; }, "CPU budget -1"},
        WrongOption{
            [](ServeOptions& o) { o.cpu_budget = std::numeric_limits<double>::quiet_NaN(); },
            "CPU budget nan"},
        WrongOption{[](ServeOptions& o) { o.grace_seconds = -1; }, "grace period in seconds -1"},
        WrongOption{[](ServeOptions& o) { o.isa = "sse9"; }, "'sse9'"},
        WrongOption{[](ServeOptions& o) { o.backend = "gpu"; },
                    "expected cpu, opencl, cuda or auto"},
        WrongOption{[](ServeOptions& o) { o.route_ms = -1; }, "measuring backends -1"},
        WrongOption{[](ServeOptions& o) { o.orca = "always"; }, "'always'"},
        WrongOption{[](ServeOptions& o) { o.otlp_endpoint = "collector"; }, "'collector'"},
        WrongOption{[](ServeOptions& o) { o.otlp_endpoint = ":4317"; }, "':4317'"},
        WrongOption{[](ServeOptions& o) { o.otlp_endpoint = "c:70000"; }, "'c:70000'"},
        WrongOption{[](ServeOptions& o) { o.trace_ratio = 1.5; }, "share of requests to trace 1.5"},
        WrongOption{[](ServeOptions& o) { o.trace_ratio = 0.5; }, "no collector"},
        WrongOption{[](ServeOptions& o) { o.log_level = "loud"; }, "loud"},
        WrongOption{[](ServeOptions& o) { o.log_format = "xml"; }, "'xml'"}));

TEST(RunServerTest, SaysThatTheRepositoryIsMissing) {
  ServeOptions options = Valid();
  options.model_repository = "/nonexistent/models";
  options.log_level = "off";
  EXPECT_EQ(RunServer(options).code(), absl::StatusCode::kNotFound);
}

class ShutdownSignalTest : public ::testing::Test {
 protected:
  ShutdownSignalTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(ShutdownSignalTest, HandsOverTheFirstSignal) {
  EXPECT_EXIT(
      {
        const auto shutdown =
            ShutdownSignal::Create([](int number) { _exit(number == SIGTERM ? 0 : 1); }, 60);
        kill(getpid(), SIGTERM);
        pause();
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(ShutdownSignalTest, EndsTheProcessAtTheSecondSignal) {
  EXPECT_EXIT(
      {
        const auto shutdown = ShutdownSignal::Create([](int) { kill(getpid(), SIGINT); }, 60);
        kill(getpid(), SIGTERM);
        pause();
      },
      ::testing::ExitedWithCode(128 + SIGINT), "second signal");
}

TEST_F(ShutdownSignalTest, EndsTheProcessWhenTheGracePeriodIsOver) {
  EXPECT_EXIT(
      {
        const auto shutdown = ShutdownSignal::Create([](int) {}, 0.05);
        kill(getpid(), SIGTERM);
        pause();
      },
      ::testing::ExitedWithCode(1), "grace period");
}

TEST_F(ShutdownSignalTest, WithoutASignalItJustEnds) {
  EXPECT_EXIT(
      {
        {
          const auto shutdown = ShutdownSignal::Create([](int) { _exit(1); }, 60);
        }
        _exit(0);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace bitmill
