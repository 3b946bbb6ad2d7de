#include "tools/cmd_serve.h"

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/isa.h"
#include "tools/cli.h"
#include "tools/opencl_options.h"
#include "tools/tune_option.h"

namespace bitmill {
namespace {

const char* WhatToDo(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return "see 'bitmill serve --help'";
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
      return "give --model-repository a folder that can be read";
    case absl::StatusCode::kUnavailable:
      return "choose another --grpc-port, --metrics-port or --host, or stop what uses it";
    default:
      return "";
  }
}

}  // namespace

void AddServeOptions(CLI::App& command, ServeOptions& options) {
  command
      .add_option("--model-repository", options.model_repository,
                  "Folder of models: NAME/VERSION/model.onnx, optional NAME/config.pbtxt")
      ->required()
      ->type_name("DIR")
      ->group("Models");
  command
      .add_option("--model-control-mode", options.model_control_mode,
                  "none: load all at the start; poll: follow changes of the folder; explicit: "
                  "load and unload by call")
      ->check(CLI::IsMember({"none", "poll", "explicit"}))
      ->type_name("MODE")
      ->capture_default_str()
      ->group("Models");
  command
      .add_option("--load-model", options.load_models,
                  "Model to load at the start in explicit mode, '*' for all (repeat)")
      ->type_name("NAME")
      ->group("Models");
  command
      .add_option("--repository-poll-secs", options.poll_seconds,
                  "Seconds between two looks at the folder in poll mode")
      ->type_name("SECONDS")
      ->capture_default_str()
      ->group("Models");
  command
      .add_option("--strict-readiness", options.strict_readiness,
                  "Whether a model that failed to load at the start keeps the server not ready")
      ->type_name("BOOL")
      ->default_str("true")
      ->group("Models");
  command
      .add_option("--max-batch-size", options.max_batch_rows,
                  "Rows of a batch where a model's configuration names no limit")
      ->type_name("ROWS")
      ->capture_default_str()
      ->group("Models");
  command.add_option("--max-model-mib", options.max_model_mib, "Largest model file, MiB")
      ->type_name("MIB")
      ->capture_default_str()
      ->group("Models");
  command
      .add_option(
          "--memory-budget", options.memory_budget,
          "What the models may hold of the machine's memory: bytes as 2GiB, a share of what "
          "there is as 0.5, auto: 0.8, or off. Idle models are evicted for others and come "
          "back with the next request")
      ->type_name("BYTES|SHARE|auto|off")
      ->capture_default_str()
      ->group("Models");
  command
      .add_option("--device-memory-budget", options.device_memory_budget,
                  "Likewise, of each device's memory; auto: 0.9")
      ->type_name("BYTES|SHARE|auto|off")
      ->capture_default_str()
      ->group("Models");
  command
      .add_option(
          "--plan-cache", options.plan_cache,
          "Where compiled plans are kept, so that the next start is fast: beside (the model "
          "files), a folder, or off")
      ->type_name("DIR|beside|off")
      ->capture_default_str()
      ->group("Models");
  AddTuneOption(command, options.tune_seconds)->group("Models");

  command
      .add_option("--host", options.host, "Address to listen on; 127.0.0.1 for this machine only")
      ->type_name("ADDRESS")
      ->capture_default_str()
      ->group("Network");
  command
      .add_option("--grpc-port", options.grpc_port, "Port of the Open Inference Protocol, 0: any")
      ->type_name("PORT")
      ->capture_default_str()
      ->group("Network");
  command
      .add_option("--metrics-port", options.metrics_port,
                  "Port of /metrics for Prometheus, and of /healthz, 0: any")
      ->type_name("PORT")
      ->capture_default_str()
      ->group("Network");
  command
      .add_option("--analysis", options.analysis,
                  "Names the bottleneck, forecasts, warns: web page, RPCs and metrics")
      ->type_name("BOOL")
      ->capture_default_str()
      ->group("Network");
  command
      .add_option("--metrics-compat", options.metrics_compat,
                  "triton: /metrics also has Triton's names (nv_inference_*), for its dashboards")
      ->check(CLI::IsMember({"none", "triton"}))
      ->type_name("NAMES")
      ->capture_default_str()
      ->group("Network");
  command.add_option("--max-message-mib", options.max_message_mib, "Largest request, MiB")
      ->type_name("MIB")
      ->capture_default_str()
      ->group("Network");
  command
      .add_option("--max-connection-age-secs", options.max_connection_age_seconds,
                  "Seconds after which a client is asked to connect anew, 0: never")
      ->type_name("SECONDS")
      ->capture_default_str()
      ->group("Network");
  command
      .add_option("--ready-file", options.ready_file,
                  "File to write when ready: JSON with grpc_port, metrics_port and pid")
      ->type_name("FILE")
      ->group("Network");

  command
      .add_option("--cpu-budget", options.cpu_budget,
                  "CPUs to use at most, 0: affinity, cpuset and cgroup quota decide")
      ->type_name("CPUS")
      ->capture_default_str()
      ->group("Computation");
  command
      .add_option("--io-threads", options.io_threads,
                  "Threads that receive and answer, 0: one for every 8 CPUs")
      ->type_name("N")
      ->capture_default_str()
      ->group("Computation");
  command
      .add_option("--intra-op-threads", options.intra_op_threads,
                  "CPUs that may share one batch of a large model while others are idle, 0: all; a "
                  "model's parameter 'threads' comes first")
      ->type_name("N")
      ->capture_default_str()
      ->group("Computation");
  command.add_option("--isa", options.isa, absl::StrCat("Instruction set: ", IsaChoices()))
      ->type_name("NAME")
      ->capture_default_str()
      ->group("Computation");
  command
      .add_option("--backend", options.backend,
                  "What computes models whose parameter 'backend' names nothing else: cpu, opencl, "
                  "cuda, or auto: each batch where it is predicted to be finished first")
      ->check(CLI::IsMember({"cpu", "opencl", "cuda", "auto"}))
      ->type_name("NAME")
      ->capture_default_str()
      ->group("Computation");
  command
      .add_option("--route-ms", options.route_ms,
                  "Milliseconds, at the load of a model whose backend is auto, of measuring how "
                  "long batches take on each backend")
      ->type_name("MS")
      ->capture_default_str()
      ->group("Computation");
  command
      .add_option("--cuda-device", options.cuda_device,
                  "CUDA device: its number or a part of its name in 'bitmill devices'; none: the "
                  "first that can be used")
      ->type_name("DEVICE")
      ->group("Computation");
  AddOpenClOptions(command, options.opencl_device, options.opencl_cache);
  command
      .add_flag("--measure-machine", options.measure_machine,
                "Measure for half a second what one core can do at most, and export it")
      ->group("Computation");
  command
      .add_option("--inline-limit-us", options.inline_limit_us,
                  "Batches predicted to take fewer microseconds run on the thread that received "
                  "them; 0: none, -1: the measured default")
      ->type_name("US")
      ->capture_default_str()
      ->group("Computation");

  command
      .add_option(
          "--power-max-watts", options.power_max_watts,
          "Slow the models down, fewer workers with fuller batches, while the machine draws "
          "more than this; 0: no limit")
      ->type_name("WATTS")
      ->capture_default_str()
      ->group("Power");
  command
      .add_option("--power-prefer", options.power_prefer,
                  "speed, or efficiency: the fewest joules a row that a model's objective allows, "
                  "where the model's parameter 'power_prefer' says nothing")
      ->check(CLI::IsMember({"speed", "efficiency"}))
      ->type_name("WHAT")
      ->capture_default_str()
      ->group("Power");
  command
      .add_option(
          "--power-core-watts", options.power_core_watts,
          "What one CPU of this machine draws when idle and when busy, as 0.8,4.5: for power "
          "settings where energy cannot be read")
      ->type_name("IDLE,BUSY")
      ->group("Power");
  command
      .add_option("--orca", options.orca,
                  "Load reports for balancing clients (ORCA): off; out-of-band, on streams of "
                  "their own; asked, and with answers whose request asks; per-request, and with "
                  "every answer")
      ->check(CLI::IsMember({"off", "out-of-band", "asked", "per-request"}))
      ->type_name("WHEN")
      ->capture_default_str()
      ->group("Network");
  command
      .add_option("--otlp-endpoint", options.otlp_endpoint,
                  "Collector of traces, OTLP over gRPC without encryption; none: no tracing")
      ->type_name("HOST:PORT")
      ->group("Tracing");
  command
      .add_option("--trace-ratio", options.trace_ratio,
                  "Share of requests to trace where the caller has not decided, 0 to 1; a caller "
                  "decides by sending a traceparent")
      ->type_name("SHARE")
      ->capture_default_str()
      ->group("Tracing");

  command
      .add_option("--drain-seconds", options.drain_seconds,
                  "After SIGTERM or SIGINT: seconds of health NOT_SERVING while all is served")
      ->type_name("SECONDS")
      ->capture_default_str()
      ->group("Life cycle");
  command
      .add_option("--grace-seconds", options.grace_seconds,
                  "Seconds from the signal to the end; a second signal ends it at once")
      ->type_name("SECONDS")
      ->capture_default_str()
      ->group("Life cycle");
  command.add_option("--log-level", options.log_level, "debug, info, warning, error or off")
      ->check(CLI::IsMember({"debug", "info", "warning", "error", "off"}))
      ->type_name("LEVEL")
      ->capture_default_str()
      ->group("Life cycle");
  command.add_option("--log-format", options.log_format, "text, or json: one object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT")
      ->capture_default_str()
      ->group("Life cycle");
}

int RunServe(const ServeOptions& options, const ServeParts& parts) {
  if (const absl::Status status = CheckServeOptions(options); !status.ok()) {
    return PrintError(status.message(), WhatToDo(status), kExitMisuse);
  }
  if (const absl::Status status = RunServer(options, parts); !status.ok()) {
    return PrintError(status.message(), WhatToDo(status));
  }
  return kExitOk;
}

}  // namespace bitmill
