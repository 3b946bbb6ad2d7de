// The whole serving path around an identity model FP32 [1024], without the repository: for trying
// clients by hand and for measuring the path alone.
//
//   identity_server PORT [INLINE_LIMIT_US [IO_THREADS [WORK_US]]]
//
// WORK_US: how long each batch takes, whatever its rows. Ends when standard input does.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "absl/time/clock.h"
#include "server/engine/batching_engine.h"
#include "server/frontend/grpc_server.h"
#include "server/metrics/metrics.h"
#include "server/schedule/tbb_scheduler.h"
#include "tests/fakes/fake_repository.h"

namespace bitmill {
namespace {

constexpr int64_t kElements = 1024;
constexpr int64_t kMaxRows = 64;

int Serve(int port, int64_t inline_limit_us, int io_threads, int64_t work_us) {
  const SystemClock clock{};
  const std::unique_ptr<ServerMetrics> metrics = CreateServerMetrics({});
  const std::unique_ptr<Scheduler> scheduler =
      CreateTbbScheduler({.workers = 2, .io_threads = io_threads}, clock);
  EngineOptions engine_options;
  if (inline_limit_us >= 0) engine_options.inline_limit_ns = inline_limit_us * 1000;
  const std::unique_ptr<Engine> engine =
      CreateBatchingEngine(engine_options, *scheduler, *metrics, clock);
  FakeRepository repository(engine->runtime_factory());
  const absl::Status added = repository.Add("identity_fp32_1024", [&clock, work_us] {
    auto executable =
        std::make_unique<FakeExecutable>(IdentitySignature(DType::kFloat32, {kElements}), kMaxRows);
    executable->remember = false;
    if (work_us > 0) {
      executable->before_run = [&clock, work_us](const BatchRows&) {
        const MonotonicNanos end = clock.Now() + work_us * 1000;
        while (clock.Now() < end) {
        }
        return absl::OkStatus();
      };
    }
    return MakeServedModel("identity_fp32_1024", 1, std::move(executable));
  });
  if (!added.ok()) return 1;
  FrontendOptions options;
  options.host = "127.0.0.1";
  options.port = port;
  options.io_threads = io_threads;
  absl::StatusOr<std::unique_ptr<GrpcFrontend>> frontend =
      GrpcFrontend::Start(options, repository, *engine, *metrics, clock);
  if (!frontend.ok()) {
    std::fprintf(stderr, "%s\n", frontend.status().ToString().c_str());
    return 1;
  }
  std::printf("%d\n", (*frontend)->port());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  (*frontend)->Shutdown(absl::Now() + absl::Seconds(2));
  engine->Drain();
  return 0;
}

int64_t Argument(int argc, char** argv, int index, int64_t otherwise) {
  return argc > index ? std::atoll(argv[index]) : otherwise;
}

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) {
  using bitmill::Argument;
  return bitmill::Serve(static_cast<int>(Argument(argc, argv, 1, 0)), Argument(argc, argv, 2, -1),
                        static_cast<int>(Argument(argc, argv, 3, 1)), Argument(argc, argv, 4, 0));
}
