// The gRPC server: Open Inference Protocol v2, the analysis, health and reflection on one port.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/analysis/analysis_source.h"
#include "server/analysis/quality_service.h"
#include "server/engine/engine.h"
#include "server/metrics/metrics.h"
#include "server/metrics/request_log.h"
#include "server/repository/repository.h"
#include "server/tracing/tracer.h"

namespace bitmill {

// Where clients learn how loaded the server is (load_report.h); all needs the analysis.
enum class LoadReports : uint8_t {
  kOff,
  kOutOfBand,   // on streams of their own
  kAsked,       // and with answers whose request asks for it: each request's metadata is read
  kPerRequest,  // and with every answer but those on streams
};

struct FrontendOptions {
  std::string host = "0.0.0.0";
  int port = 8001;     // 0: any free one
  int io_threads = 0;  // 0: 1 below 8 CPUs of budget, otherwise one for every 8
  int cpu_budget = 1;
  int64_t max_receive_bytes = int64_t{64} << 20;   // of one message
  int64_t max_in_flight_bytes = int64_t{1} << 30;  // of all received and not answered
  int stream_window = 64;  // requests of a stream that may wait for their answer
  // A connection without traffic is probed after so long, and closed when no answer comes.
  int64_t keepalive_ms = 60'000, keepalive_timeout_ms = 20'000;
  int64_t max_connection_age_ms = 0;  // 0: no limit
  LoadReports load_reports = LoadReports::kOutOfBand;
  bool allow_model_control = true;  // RepositoryModelLoad and RepositoryModelUnload
};

// What the server offers beyond inference. Borrowed; null: it is switched off.
struct FrontendServices {
  RequestLog* log = nullptr;  // gets a record of each request whose model is known
  AnalysisSource* analysis = nullptr;
  QualityService* quality = nullptr;
  Tracer* tracer = nullptr;
  HostInfo host = {};  // what reports say of the machine
};

// How many threads FrontendOptions asks for (the scheduler needs to know).
int FrontendIoThreads(const FrontendOptions& options);

class GrpcFrontend {
 public:
  virtual ~GrpcFrontend() = default;

  // Unavailable when the address cannot be listened on. Borrows the others; takes the repository's
  // change listener.
  static absl::StatusOr<std::unique_ptr<GrpcFrontend>> Start(const FrontendOptions& options,
                                                             ModelRepository& repository,
                                                             Engine& engine, ServerMetrics& metrics,
                                                             const Clock& clock,
                                                             const FrontendServices& services = {});

  virtual int port() const = 0;
  // Health says NOT_SERVING and the server is no longer ready; requests are still served.
  virtual void BeginDrain() = 0;
  // No new connection or call; ends idle streams, lets calls in flight finish until `deadline`,
  // cancels the rest. Returns when all is over. Idempotent.
  virtual void Shutdown(absl::Time deadline) = 0;
};

}  // namespace bitmill
