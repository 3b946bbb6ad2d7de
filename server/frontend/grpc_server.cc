// Puts the parts together: one completion queue and thread for each I/O loop, ModelInfer as a raw
// method, everything else through the generic service on the same queues. No call uses gRPC's
// synchronous or callback API: those bring threads that poll, and a second poller costs a request
// more than all of our own work (docs/decisions/0001).
#include "server/frontend/grpc_server.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "grpc/grpc.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "server/frontend/analysis_rpcs.h"
#include "server/frontend/control_thread.h"
#include "server/frontend/frontend_context.h"
#include "server/frontend/generic_call.h"
#include "server/frontend/health.h"
#include "server/frontend/infer_call.h"
#include "server/frontend/infer_stream.h"
#include "server/frontend/io_loop.h"
#include "server/frontend/load_report.h"
#include "server/frontend/reflection.h"
#include "server/frontend/report_watch.h"
#include "server/frontend/unary_call.h"
#include "server/frontend/unary_rpcs.h"
#include "server/frontend/watch_list.h"

namespace bitmill {
namespace {

// Calls asked for ahead of their arrival, a loop: enough that a burst finds them waiting.
constexpr int kInferCallsAhead = 16;
constexpr int kGenericCallsAhead = 8;
constexpr int kCpusPerIoThread = 8;
constexpr size_t kMaxReportWatches = 64;
constexpr size_t kMaxLoadWatches = 4096;  // one for each connection of a balancing client

class GrpcFrontendImpl final : public GrpcFrontend {
 public:
  GrpcFrontendImpl(const FrontendOptions& options, ModelRepository& repository, Engine& engine,
                   ServerMetrics& metrics, const Clock& clock, const FrontendServices& services)
      : options_(options), services_(services), context_{options_, repository, engine, metrics,
                                                         clock,    services_,  load_} {
    unary_rpcs_ = InferenceUnaryRpcs();
    unary_rpcs_.insert(AnalysisUnaryRpcs().begin(), AnalysisUnaryRpcs().end());
    unary_rpcs_["/grpc.health.v1.Health/Check"].run = &CheckHealth;
    factory_ = [this](const std::string& method, GenericCall& call) { return Route(method, call); };
  }

  ~GrpcFrontendImpl() override { Shutdown(absl::Now()); }

  absl::Status Listen() {
    grpc::ServerBuilder builder;
    const std::string address = absl::StrCat(options_.host.find(':') == std::string::npos
                                                 ? options_.host
                                                 : absl::StrCat("[", options_.host, "]"),
                                             ":", options_.port);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&infer_service_);
    builder.RegisterAsyncGenericService(&generic_service_);
    builder.SetMaxReceiveMessageSize(static_cast<int>(
        std::clamp<int64_t>(options_.max_receive_bytes, 1, std::numeric_limits<int>::max())));
    builder.SetMaxSendMessageSize(-1);
    SetChannelArguments(builder);
    for (int i = 0; i < FrontendIoThreads(options_); ++i) {
      loops_.push_back(std::make_unique<IoLoop>(builder.AddCompletionQueue(), context_.engine,
                                                services_.log, context_.clock));
    }
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      if (server_ != nullptr) server_->Shutdown();
      server_ = nullptr;
      return absl::UnavailableError(absl::StrCat("cannot listen on ", address,
                                                 ": the address is in use or not this machine's"));
    }
    for (const auto& loop : loops_) {
      for (int i = 0; i < kInferCallsAhead; ++i) InferCall::Listen(context_, infer_service_, *loop);
      for (int i = 0; i < kGenericCallsAhead; ++i) {
        GenericCall::Listen(context_, generic_service_, *loop, factory_);
      }
      loop->Start();
    }
    context_.repository.SetChangeListener([this] { health_watches_.Notify(); });
    if (services_.analysis != nullptr) {
      subscription_ = services_.analysis->Subscribe([this] { OnReport(); });
      OnReport();
    }
    return absl::OkStatus();
  }

  int port() const override { return port_; }

  void BeginDrain() override {
    context_.draining.store(true);
    health_watches_.Notify();
  }

  void Shutdown(absl::Time deadline) override {
    if (server_ == nullptr) return;
    BeginDrain();
    for (const auto& loop : loops_) loop->ShutdownLongCalls();
    server_->Shutdown(absl::ToChronoTime(deadline));
    context_.repository.SetChangeListener(nullptr);
    health_watches_.Close();
    if (services_.analysis != nullptr) services_.analysis->Unsubscribe(subscription_);
    control_.Stop();
    for (const auto& loop : loops_) loop->Stop();
    server_ = nullptr;
  }

 private:
  void SetChannelArguments(grpc::ServerBuilder& builder) const {
    const auto set = [&builder](const char* name, int64_t value) {
      builder.AddChannelArgument(
          name, static_cast<int>(std::clamp<int64_t>(value, 0, std::numeric_limits<int>::max())));
    };
    set(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second server on the port is an error
    set(GRPC_ARG_KEEPALIVE_TIME_MS, options_.keepalive_ms);
    set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options_.keepalive_timeout_ms);
    set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
    set(GRPC_ARG_ENABLE_CHANNELZ, 0);  // no service shows what it would collect from each call
    if (options_.max_connection_age_ms > 0) {
      set(GRPC_ARG_MAX_CONNECTION_AGE_MS, options_.max_connection_age_ms);
    }
  }

  // On the analysis' thread, but for the first report.
  void OnReport() {
    load_.Update(*services_.analysis->Newest());
    report_watches_.Notify();
    load_watches_.Notify();
  }

  std::unique_ptr<CallHandler> Route(const std::string& method, GenericCall& call) {
    const auto unary = unary_rpcs_.find(method);
    if (unary != unary_rpcs_.end()) return CreateUnaryCall(call, unary->second, control_);
    if (method == "/inference.GRPCInferenceService/ModelStreamInfer") {
      return std::make_unique<InferStream>(call);
    }
    if (method == "/grpc.health.v1.Health/Watch") return CreateHealthWatch(call, health_watches_);
    if (method == kStreamLoadMethod && options_.load_reports != LoadReports::kOff) {
      return CreateUpdateStream(call, load_watches_, CreateLoadUpdates(context_, load_));
    }
    if (method == kWatchReportMethod) {
      return CreateUpdateStream(call, report_watches_, CreateReportUpdates(context_));
    }
    if (method == "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" ||
        method == "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo") {
      return CreateReflectionStream(call);
    }
    return nullptr;
  }

  const FrontendOptions options_;
  const FrontendServices services_;
  LoadReporter load_;
  FrontendContext context_;
  UnaryRpcs unary_rpcs_;
  HandlerFactory factory_;
  WatchList health_watches_;
  WatchList report_watches_{kMaxReportWatches};
  WatchList load_watches_{kMaxLoadWatches};
  int64_t subscription_ = 0;  // to reports
  ControlThread control_;
  RawInferService infer_service_;
  grpc::AsyncGenericService generic_service_;
  std::vector<std::unique_ptr<IoLoop>> loops_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace

int FrontendIoThreads(const FrontendOptions& options) {
  if (options.io_threads > 0) return options.io_threads;
  return std::max(1, options.cpu_budget / kCpusPerIoThread);
}

absl::StatusOr<std::unique_ptr<GrpcFrontend>> GrpcFrontend::Start(
    const FrontendOptions& options, ModelRepository& repository, Engine& engine,
    ServerMetrics& metrics, const Clock& clock, const FrontendServices& services) {
  // gRPC's mutexes are Abseil's, and the distribution's Abseil keeps a graph of them to find
  // deadlocks: 3 % of a request for a debugging aid.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  auto frontend =
      std::make_unique<GrpcFrontendImpl>(options, repository, engine, metrics, clock, services);
  BITMILL_RETURN_IF_ERROR(frontend->Listen());
  return std::unique_ptr<GrpcFrontend>(std::move(frontend));
}

}  // namespace bitmill
