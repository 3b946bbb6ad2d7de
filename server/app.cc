#include "server/app.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "backends/backend.h"
#include "base/clock.h"
#include "base/cpu_budget.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "base/this_thread.h"
#include "grpc/support/log.h"
#include "kernels/isa.h"
#include "kernels/roofline/roofline.h"
#include "model/onnx/onnx_reader.h"
#include "server/analysis/analysis_metrics.h"
#include "server/analysis/analyzer.h"
#include "server/analysis/host_sampler.h"
#include "server/analysis/quality/quality_watch.h"
#include "server/analysis_pages.h"
#include "server/compute_backends.h"
#include "server/engine/batching_engine.h"
#include "server/frontend/engine_shadow.h"
#include "server/frontend/grpc_server.h"
#include "server/memory_limits.h"
#include "server/memory_metrics.h"
#include "server/metrics/exporter.h"
#include "server/metrics/metrics.h"
#include "server/metrics/request_log.h"
#include "server/power_setup.h"
#include "server/quality_of_watch.h"
#include "server/repository/disk_repository.h"
#include "server/routing_metrics.h"
#include "server/schedule/tbb_scheduler.h"
#include "server/served_versions.h"
#include "server/shutdown_signal.h"
#include "server/tracing/trace_exporter.h"
#include "server/tracing/trace_transport.h"
#include "server/tracing/tracer.h"

namespace bitmill {
namespace {

constexpr int kMaxLoadThreads = 4;
constexpr double kRefuseSeconds = 0.25;  // a few times the round trip of a client

absl::StatusOr<ControlMode> ParseControlMode(const std::string& name) {
  if (name == "none") return ControlMode::kNone;
  if (name == "poll") return ControlMode::kPoll;
  if (name == "explicit") return ControlMode::kExplicit;
  return absl::InvalidArgumentError(
      absl::StrCat("model control mode '", name, "', expected none, poll or explicit"));
}

absl::StatusOr<Isa> ChooseIsa(const std::string& name) {
  if (name == "auto") return BestIsa();
  Isa isa = Isa::kRef;
  if (!ParseIsa(name.c_str(), &isa)) {
    return absl::InvalidArgumentError(absl::StrCat("isa '", name, "', expected ", IsaChoices()));
  }
  if (!IsaAllows(BestIsa(), isa)) {
    return absl::InvalidArgumentError(
        absl::StrCat("isa '", name, "', this machine has ", IsaName(BestIsa()), " at most"));
  }
  return isa;
}

absl::StatusOr<LoadReports> ParseLoadReports(const std::string& name) {
  if (name == "off") return LoadReports::kOff;
  if (name == "out-of-band") return LoadReports::kOutOfBand;
  if (name == "asked") return LoadReports::kAsked;
  if (name == "per-request") return LoadReports::kPerRequest;
  return absl::InvalidArgumentError(
      absl::StrCat("load reports '", name, "', expected off, out-of-band, asked or per-request"));
}

template <typename T>
absl::Status CheckRange(const char* name, T value, T least, T most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " ", value, ", expected ", least, " to ", most));
}

std::string CompilerName() {
#if defined(__clang__)
  return absl::StrCat("clang ", __clang_major__, ".", __clang_minor__);
#else
  return absl::StrCat("g++ ", __GNUC__, ".", __GNUC_MINOR__);
#endif
}

// Every connection is a descriptor, and gRPC stops listening for good when there are none left:
// take as many as the system allows.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));
}

// gRPC's own lines join ours. What matters of them comes back as a status; the rest is detail.
void LogFromGrpc(gpr_log_func_args* args) { LogDebug(absl::StrCat("grpc: ", args->message)); }

// What one core can do at most, in about half a second; it is not idle memory: up to 256 MiB.
std::vector<MachineLimit> MeasureMachine(Isa isa) {
  constexpr double kSeconds = 0.5;
  const Roofline roofline = MeasureRoofline(isa, kSeconds);
  std::vector<MachineLimit> limits;
  std::string line = "machine one_core";
  for (const CeilingInfo& info : CeilingInfos()) {
    limits.push_back({info.key, roofline[info.ceiling]});
    absl::StrAppend(&line, absl::StrFormat(" %s=%.3g", info.key, roofline[info.ceiling]));
  }
  LogInfo(line);
  return limits;
}

// "host:port" with a port that can be connected to.
absl::Status CheckEndpoint(const std::string& endpoint) {
  const size_t colon = endpoint.rfind(':');
  int port = 0;
  if (colon != std::string::npos && colon > 0 &&
      absl::SimpleAtoi(endpoint.substr(colon + 1), &port) && port > 0 && port <= 65535) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("collector '", endpoint, "', expected host:port, as 127.0.0.1:4317"));
}

// Null where there is no such library, or no driver: GPUs are then not looked at.
std::unique_ptr<Nvml> OpenNvml() {
  absl::StatusOr<std::unique_ptr<Nvml>> nvml = Nvml::Open();
  if (nvml.ok()) return *std::move(nvml);
  LogDebug(absl::StrCat("nvml: ", nvml.status().message()));
  return nullptr;
}

std::string HostName() {
  char name[256] = "";
  if (gethostname(name, sizeof(name) - 1) != 0) return "";
  return name;
}

uint64_t RandomNumber() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

// What happened to the server from outside and inside; the main thread waits for it.
class Events {
 public:
  void SetLoaded() {
    MutexLock lock(&mutex_);
    loaded_ = true;
    changed_.NotifyAll();
  }
  void SetSignal() {
    MutexLock lock(&mutex_);
    signal_ = true;
    changed_.NotifyAll();
  }
  // True when all was loaded before a signal came.
  bool WaitUntilLoaded() {
    MutexLock lock(&mutex_);
    while (!signal_ && !loaded_) changed_.Wait(&mutex_);
    return !signal_;
  }
  void WaitForSignal() {
    MutexLock lock(&mutex_);
    while (!signal_) changed_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool loaded_ ABSL_GUARDED_BY(mutex_) = false;
  bool signal_ ABSL_GUARDED_BY(mutex_) = false;
};

class Server {
 public:
  // Before any other thread exists: what is counted are this thread's and its children's events.
  Server(const ServeOptions& options, const ServeParts& parts) : options_(options), parts_(parts) {
    if (options.analysis) perf_events_ = OpenPerfEvents();
  }

  absl::Status Start() {
    BITMILL_ASSIGN_OR_RETURN(const ControlMode mode, ParseControlMode(options_.model_control_mode));
    BITMILL_ASSIGN_OR_RETURN(const Isa isa, ChooseIsa(options_.isa));
    BITMILL_ASSIGN_OR_RETURN(
        const CpuBudget budget,
        DetectCpuBudget(
            {.override_cpus = options_.cpu_budget, .filesystem_root = "", .affinity_cpus = 0}));
    LogInfo(absl::StrFormat("bitmill %s cpu=\"%s\" isa=%s cpu_budget=%d (%s)", BITMILL_VERSION,
                            CpuModelName(), IsaName(isa), budget.cpus, budget.source));
    const std::vector<MachineLimit> limits =
        options_.measure_machine ? MeasureMachine(isa) : std::vector<MachineLimit>{};
    const HostInfo host{.cpu = CpuModelName(),
                        .isa = IsaName(isa),
                        .compiler = CompilerName(),
                        .cpu_budget_cores = budget.cores,
                        .limits = limits};
    metrics_ = CreateServerMetrics(host, {.triton_names = options_.metrics_compat == "triton"});
    if (options_.analysis) log_ = std::make_unique<RequestLog>();
    FrontendOptions frontend = MakeFrontendOptions(mode, budget.cpus);
    BITMILL_ASSIGN_OR_RETURN(frontend.load_reports, ParseLoadReports(options_.orca));
    scheduler_ = CreateTbbScheduler(
        {.workers = budget.cpus, .io_threads = FrontendIoThreads(frontend)}, clock_);
    EngineOptions engine;
    engine.log = log_.get();
    if (options_.inline_limit_us >= 0) engine.inline_limit_ns = options_.inline_limit_us * 1000;
    engine_ = CreateBatchingEngine(engine, *scheduler_, *metrics_, clock_);
    BITMILL_ASSIGN_OR_RETURN(
        backend_, MakeComputeBackends(options_, budget.cpus, clock_, &scheduler_->helpers()));
    if (parts_.wrap_backend) backend_ = parts_.wrap_backend(std::move(backend_));
    if (options_.analysis) quality_ = std::make_unique<QualityWatch>(clock_);
    BITMILL_ASSIGN_OR_RETURN(
        repository_, DiskRepository::Create(MakeRepositoryOptions(mode, IsaName(isa), budget.cpus),
                                            {.backend = *backend_,
                                             .reader = ReadOnnx,
                                             .runtime_factory = engine_->runtime_factory(),
                                             .taps = quality_.get(),
                                             .contexts =
                                                 [this](const ModelSettings& settings) {
                                                   return engine_->ContextsOf(settings);
                                                 }},
                                            *metrics_));
    metrics_->AddSource([this] { return MemoryMetrics(repository_->Memory()); });
    metrics_->AddSource([this] { return RoutingMetrics(*repository_); });
    if (options_.analysis) StartAnalysis(limits, FrontendIoThreads(frontend));
    if (!options_.otlp_endpoint.empty()) StartTracing();
    BITMILL_ASSIGN_OR_RETURN(
        exporter_, StartMetricsExporter(options_.host, options_.metrics_port, *metrics_,
                                        analyzer_ != nullptr ? AnalysisPages(*analyzer_, host)
                                                             : std::vector<HttpPage>{}));
    BITMILL_ASSIGN_OR_RETURN(
        frontend_, GrpcFrontend::Start(frontend, *repository_, *engine_, *metrics_, clock_,
                                       {.log = log_.get(),
                                        .analysis = analyzer_.get(),
                                        .quality = labels_.get(),
                                        .tracer = tracer_.get(),
                                        .host = host}));
    if (host_ != nullptr) host_->WatchPort(frontend_->port());
    LogInfo(absl::StrCat("listening host=", options_.host, " grpc_port=", frontend_->port(),
                         " metrics_port=", exporter_->port()));
    return absl::OkStatus();
  }

  // Returns after a signal.
  absl::Status Serve(Events& events) {
    loader_ = std::thread([this, &events] {
      NameThisThread("loader");
      repository_->LoadAtStart();
      events.SetLoaded();
    });
    if (events.WaitUntilLoaded()) BITMILL_RETURN_IF_ERROR(AnnounceReady());
    events.WaitForSignal();
    return absl::OkStatus();
  }

  // NOT_SERVING, still serving for a moment; then new requests are refused, so that clients stop
  // by themselves: a call that meets the closing of its connection is merely cancelled by gRPC.
  // Then nothing new, what is in flight finishes.
  void Drain() {
    const absl::Time start = absl::Now();
    LogInfo("draining");
    if (!options_.ready_file.empty()) unlink(options_.ready_file.c_str());
    frontend_->BeginDrain();
    if (quality_ != nullptr) quality_->StopShadows();
    absl::SleepFor(absl::Seconds(std::min(options_.drain_seconds, options_.grace_seconds / 2)));
    std::thread finish([this] {
      engine_->Drain();
      repository_->Stop();  // those who wait for evicted models are told
    });
    absl::SleepFor(absl::Seconds(std::min(kRefuseSeconds, options_.grace_seconds / 4)));
    // A second is left for what follows.
    const double serving = std::max(options_.grace_seconds - 1, options_.grace_seconds / 2);
    frontend_->Shutdown(start + absl::Seconds(serving));
    finish.join();
  }

  ~Server() {
    if (quality_ != nullptr) quality_->StopShadows();
    if (repository_ != nullptr) repository_->Stop();
    if (loader_.joinable()) loader_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  void StartAnalysis(const std::vector<MachineLimit>& limits, int io_threads) {
    const PowerSetup power = *ReadPowerOptions(options_);  // was checked
    host_ = std::make_unique<HostSampler>(HostSamplerOptions{.override_cpus = options_.cpu_budget,
                                                             .perf = std::move(perf_events_),
                                                             .nvml = OpenNvml(),
                                                             .energy = power.energy},
                                          clock_);
    served_ = std::make_unique<ServedVersionsOfRepository>(*repository_, *engine_, limits);
    analyzer_ = std::make_unique<Analyzer>(
        AnalyzerOptions{.limits = ToMachineLimits(limits),
                        .io_threads = io_threads,
                        .power = power.options,
                        .quality = [this] { return quality_->Reports(); }},
        *log_, *served_, *host_, clock_);
    shadow_ = std::make_unique<EngineShadow>(*repository_, *engine_, clock_);
    labels_ = std::make_unique<QualityOfWatch>(*repository_, *quality_);
    quality_->StartShadows(*shadow_);
    metrics_->AddSource([this] { return quality_->Points(); });
    metrics_->AddSource([this] { return host_->Metrics(); });
    metrics_->AddSource(AnalysisMetricsOf(*analyzer_));
    metrics_->AddSource([this] { return analyzer_->PowerMetrics(); });
    analyzer_->Start();
  }

  FrontendOptions MakeFrontendOptions(ControlMode mode, int cpus) const {
    FrontendOptions frontend;
    frontend.host = options_.host;
    frontend.port = options_.grpc_port;
    frontend.io_threads = options_.io_threads;
    frontend.cpu_budget = cpus;
    frontend.max_receive_bytes = options_.max_message_mib << 20;
    frontend.max_connection_age_ms = options_.max_connection_age_seconds * 1000;
    frontend.allow_model_control = mode == ControlMode::kExplicit;
    return frontend;
  }

  void StartTracing() {
    const TraceResource resource{.instance_id = absl::StrFormat("%016x", RandomNumber()),
                                 .host_name = HostName()};
    traces_ = std::make_unique<TraceExporter>(TraceExporterOptions{}, resource, RandomNumber(),
                                              CreateOtlpTransport(options_.otlp_endpoint), clock_);
    tracer_ = std::make_unique<Tracer>(options_.trace_ratio, RandomNumber(), *traces_, clock_);
    metrics_->AddSource([this] { return traces_->Points(); });
  }

  RepositoryOptions MakeRepositoryOptions(ControlMode mode, const char* isa, int cpus) const {
    RepositoryOptions repository;
    repository.root = options_.model_repository;
    repository.mode = mode;
    repository.load_at_start = options_.load_models;
    repository.poll_seconds = options_.poll_seconds;
    repository.isa = isa;
    repository.plan_cache = ParsePlanCache(options_.plan_cache);
    repository.tune_seconds = options_.tune_seconds;
    repository.threads = options_.intra_op_threads;
    repository.default_max_rows = options_.max_batch_rows;
    repository.max_model_bytes =
        std::min((options_.max_model_mib << 20), repository.max_model_bytes);
    repository.memory = *ReadMemoryLimits(options_, HostMemoryBytes(""));  // was checked
    LogMemoryLimits(repository.memory, options_);
    repository.load_threads = std::min(cpus, kMaxLoadThreads);
    repository.strict_readiness = options_.strict_readiness;
    return repository;
  }

  absl::Status AnnounceReady() const {
    if (!repository_->AllStartedReady()) {
      LogWarning(
          "not ready: models failed to load; load them again or use --strict-readiness false");
      return absl::OkStatus();
    }
    LogInfo(absl::StrCat("ready models=", repository_->AllReady().size()));
    if (options_.ready_file.empty()) return absl::OkStatus();
    return WriteFileAtomically(
        options_.ready_file,
        absl::StrCat("{\"grpc_port\": ", frontend_->port(),
                     ", \"metrics_port\": ", exporter_->port(), ", \"pid\": ", getpid(), "}\n"));
  }

  const ServeOptions options_;
  const ServeParts parts_;
  const SystemClock clock_;
  absl::StatusOr<std::unique_ptr<PerfReader>> perf_events_ = absl::UnavailableError("not opened");
  // In the order in which each needs the ones before.
  std::unique_ptr<ServerMetrics> metrics_;
  std::unique_ptr<RequestLog> log_;  // this and what is below are null without the analysis
  std::unique_ptr<TbbScheduler> scheduler_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<QualityWatch> quality_;
  std::unique_ptr<DiskRepository> repository_;
  std::unique_ptr<HostSampler> host_;
  std::unique_ptr<ServedVersionsOfRepository> served_;
  std::unique_ptr<Analyzer> analyzer_;
  std::unique_ptr<EngineShadow> shadow_;
  std::unique_ptr<QualityOfWatch> labels_;
  std::unique_ptr<TraceExporter> traces_;  // this and the next are null without tracing
  std::unique_ptr<Tracer> tracer_;
  std::unique_ptr<GrpcFrontend> frontend_;
  std::unique_ptr<MetricsExporter> exporter_;
  std::thread loader_;
};

}  // namespace

absl::Status CheckServeOptions(const ServeOptions& options) {
  BITMILL_RETURN_IF_ERROR(ParseControlMode(options.model_control_mode).status());
  BITMILL_RETURN_IF_ERROR(ChooseIsa(options.isa).status());
  BITMILL_RETURN_IF_ERROR(ParseLoadReports(options.orca).status());
  if (!options.load_models.empty() && options.model_control_mode != "explicit") {
    return absl::InvalidArgumentError("models to load are named only in explicit mode");
  }
  BITMILL_RETURN_IF_ERROR(CheckRange("gRPC port", options.grpc_port, 0, 65535));
  BITMILL_RETURN_IF_ERROR(CheckRange("metrics port", options.metrics_port, 0, 65535));
  BITMILL_RETURN_IF_ERROR(CheckRange<int64_t>("poll period", options.poll_seconds, 1, 86'400));
  BITMILL_RETURN_IF_ERROR(
      CheckRange<int64_t>("batch rows", options.max_batch_rows, 1, kMaxBatchSizeLimit));
  BITMILL_RETURN_IF_ERROR(CheckRange<int64_t>("model file MiB", options.max_model_mib, 1, 2048));
  BITMILL_RETURN_IF_ERROR(CheckRange<int64_t>("message MiB", options.max_message_mib, 1, 2047));
  BITMILL_RETURN_IF_ERROR(CheckRange<int64_t>("connection age in seconds",
                                              options.max_connection_age_seconds, 0, 2'000'000));
  BITMILL_RETURN_IF_ERROR(CheckRange("I/O threads", options.io_threads, 0, 256));
  BITMILL_RETURN_IF_ERROR(CheckRange("threads of a batch", options.intra_op_threads, 0, 1024));
  BITMILL_RETURN_IF_ERROR(CheckRange("CPU budget", options.cpu_budget, 0.0, 4096.0));
  BITMILL_RETURN_IF_ERROR(
      CheckRange("grace period in seconds", options.grace_seconds, 0.0, 86'400.0));
  BITMILL_RETURN_IF_ERROR(CheckRange("seconds of tuning", options.tune_seconds, 0.0, 3600.0));
  BITMILL_RETURN_IF_ERROR(CheckRange("share of requests to trace", options.trace_ratio, 0.0, 1.0));
  if (!options.otlp_endpoint.empty()) {
    BITMILL_RETURN_IF_ERROR(CheckEndpoint(options.otlp_endpoint));
  } else if (options.trace_ratio > 0) {
    return absl::InvalidArgumentError("a share of requests to trace, but no collector to send to");
  }
  BITMILL_RETURN_IF_ERROR(CheckRange("drain seconds", options.drain_seconds, 0.0, 86'400.0));
  if (options.metrics_compat != "none" && options.metrics_compat != "triton") {
    return absl::InvalidArgumentError(absl::StrCat(
        "metrics compatibility '", options.metrics_compat, "', expected none or triton"));
  }
  if (options.backend != "cpu" && options.backend != "opencl" && options.backend != "cuda" &&
      options.backend != "auto") {
    return absl::InvalidArgumentError(
        absl::StrCat("backend '", options.backend, "', expected cpu, opencl, cuda or auto"));
  }
  BITMILL_RETURN_IF_ERROR(
      CheckRange<int64_t>("milliseconds of measuring backends", options.route_ms, 0, 60'000));
  BITMILL_RETURN_IF_ERROR(ReadMemoryLimits(options, 0).status());
  BITMILL_RETURN_IF_ERROR(ReadPowerOptions(options).status());
  if (options.plan_cache.empty()) {
    return absl::InvalidArgumentError("plan cache '', expected beside, off or a folder");
  }
  if (options.log_format != "text" && options.log_format != "json") {
    return absl::InvalidArgumentError(
        absl::StrCat("log format '", options.log_format, "', expected text or json"));
  }
  return SetLogLevel(options.log_level);
}

absl::Status RunServer(const ServeOptions& options, const ServeParts& parts) {
  BITMILL_RETURN_IF_ERROR(CheckServeOptions(options));
  SetLogJson(options.log_format == "json");
  Events events;
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<ShutdownSignal> shutdown,
                           ShutdownSignal::Create(
                               [&events](int number) {
                                 LogInfo(absl::StrCat("signal ", number));
                                 events.SetSignal();
                               },
                               options.grace_seconds + 1));
  gpr_set_log_function(LogFromGrpc);
  RaiseDescriptorLimit();
  absl::Status status;
  {
    Server server(options, parts);
    BITMILL_RETURN_IF_ERROR(server.Start());
    status = server.Serve(events);
    server.Drain();
  }
  LogInfo("stopped");
  return status;
}

}  // namespace bitmill
