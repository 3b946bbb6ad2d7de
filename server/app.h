// The server as a whole: the one place that knows concrete classes, builds them in order and takes
// them down again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace bitmill {

class Backend;

struct ServeOptions {
  std::string model_repository;
  std::string model_control_mode = "none";  // or "poll", "explicit"
  std::vector<std::string> load_models;     // explicit mode: what to load at the start, "*" for all
  int64_t poll_seconds = 15;
  bool strict_readiness = true;
  int64_t max_batch_rows = 64;         // of a batch, where the configuration names no limit
  int64_t max_model_mib = 2047;        // of a model file
  std::string memory_budget = "auto";  // of weights and arenas; server/repository/memory_budget.h
  std::string device_memory_budget = "auto";  // likewise, of each device
  std::string plan_cache = "beside";          // of the model files, a folder, or "off"
  double tune_seconds = 0;  // of measuring kernels at a load, where no plan file has them

  std::string host = "0.0.0.0";
  int grpc_port = 8001;                 // 0: any free one
  int metrics_port = 8002;              // likewise
  std::string metrics_compat = "none";  // or "triton": also its names, for its dashboards
  int64_t max_message_mib = 64;
  int64_t max_connection_age_seconds = 0;  // 0: no limit
  std::string ready_file;  // JSON with ports and pid, written when ready; empty: none

  double cpu_budget = 0;             // CPUs to use at most; 0: what the system grants
  int io_threads = 0;                // 0: by the budget
  int intra_op_threads = 0;          // CPUs that may share a batch; 0: all of the budget
  std::string isa = "auto";          // or a name of kernels/isa.h
  std::string backend = "cpu";       // of models that name none; or "opencl", "cuda", "auto"
  int64_t route_ms = 200;            // of measuring the backends of a model that is "auto"
  std::string cuda_device;           // its number, or a part of its name; empty: the first usable
  std::string opencl_device;         // likewise; empty: the best one
  std::string opencl_cache = "off";  // folder of compiled kernels
  // At the start: what one core can do at most, as metrics and for the analysis. Half a second, and
  // 256 MiB of memory for that long.
  bool measure_machine = false;
  bool analysis = true;          // names the bottleneck, forecasts, warns, adapts
  int64_t inline_limit_us = -1;  // batches predicted to be shorter run on I/O threads; -1: default

  double power_max_watts = 0;          // of the machine; 0: no limit
  std::string power_prefer = "speed";  // or "efficiency": of models that say nothing
  std::string power_core_watts;  // "IDLE,BUSY", of one CPU of this machine; empty: not declared

  std::string orca = "out-of-band";  // load reports; or off, asked, per-request

  // Traces go to an OpenTelemetry collector, OTLP over gRPC at "host:port"; empty: no tracing.
  std::string otlp_endpoint;
  double trace_ratio = 0;  // of the requests whose callers have not decided by a traceparent

  double drain_seconds = 1;   // answering NOT_SERVING, and everything else as ever, after a signal
  double grace_seconds = 30;  // from the signal to the end

  std::string log_level = "info";   // debug, info, warning, error, off
  std::string log_format = "text";  // or "json"
};

// InvalidArgument naming the option, the value seen and what is allowed.
absl::Status CheckServeOptions(const ServeOptions& options);

// What a program composes in another way than the server that is delivered: for measurements with
// faults that are known.
struct ServeParts {
  std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)> wrap_backend;  // null: as it is
};

// Serves until SIGTERM or SIGINT, then drains; OK when all ended in order. Otherwise it did not
// start, and the status says why. Call it before any other thread exists.
absl::Status RunServer(const ServeOptions& options, const ServeParts& parts = {});

}  // namespace bitmill
