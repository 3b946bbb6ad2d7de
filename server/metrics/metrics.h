// Everything that /metrics shows. Recording is cheap (no allocation, no shared lock on the request
// path); rendering happens when Prometheus asks.
//
//   bitmill_requests_total{model,version,code}          finished requests by canonical status name
//   bitmill_request_duration_seconds{model,version}     histogram, received to answered; also
//   native (native_histogram.h), with traces as exemplars
//   bitmill_stage_duration_seconds{model,version,stage} histogram, also native
//   bitmill_batch_rows{model,version}                   histogram of rows of each execution
//   bitmill_rows_total, bitmill_executions_total{model,version}
//   bitmill_objective_answers_total{model,version,result}  answers, within the objective and late;
//   of models that state one
//   bitmill_queue_depth, bitmill_in_flight{model,version}
//   bitmill_model_weight_bytes, bitmill_model_ready{model,version}
//   bitmill_model_load_seconds{model,version,plan}      of the last load; plan: compiled, or file
//   bitmill_rejected_requests_total{code}               before a model was known (unknown name,
//   ...) bitmill_process_cpu_seconds_total, bitmill_process_resident_memory_bytes, ..._open_fds,
//   bitmill_process_start_time_seconds, bitmill_build_info{version,compiler},
//   bitmill_host_info{cpu,isa}, bitmill_cpu_budget_cores
//   bitmill_machine_macs_per_second{products}, bitmill_machine_read_bytes_per_second{level}: what
//   one core can do at most, where it was measured
//
// Label values are model names of the repository and version numbers, never text of a request, so
// the number of series is bounded.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/metrics/exposition.h"
#include "server/metrics/in_system.h"
#include "server/metrics/metric_point.h"
#include "server/metrics/stage_times.h"
#include "server/metrics/trace_id.h"

namespace prometheus {
class Collectable;
}

namespace bitmill {

// Cumulative counts of one model version, for ModelStatistics; read without stopping writers.
struct ModelStatisticsSnapshot {
  int64_t requests_ok = 0, requests_failed = 0, rows = 0, executions = 0;
  int64_t success_ns = 0, fail_ns = 0;  // total durations
  StageTimes stage_ns;                  // sums over successful requests
  int64_t last_inference_unix_ms = 0;
  struct BatchCount {
    int64_t rows = 0, executions = 0, compute_ns = 0;
  };
  std::vector<BatchCount> batches;  // by exact number of rows, ascending
};

// Recorder of one model version. Thread-safe; lives as long as the ServerMetrics.
class ModelMetrics {
 public:
  virtual ~ModelMetrics() = default;
  virtual void RecordRequest(absl::StatusCode code, int64_t total_ns, int64_t rows,
                             const StageTimes& stages) = 0;
  virtual void RecordExecution(int64_t rows, int64_t compute_ns) = 0;
  // Of a request that belongs to a trace, beside RecordRequest: its duration's bucket shows the
  // trace as an example.
  virtual void RecordExemplar(int64_t total_ns, const TraceId& trace) = 0;
  virtual ModelStatisticsSnapshot Snapshot() const = 0;

  // Of this process, from 0; what records name the version by.
  virtual uint32_t id() const = 0;

  InSystem in_system;                   // requests received and not answered
  std::atomic<int64_t> queue_depth{0};  // requests waiting
  std::atomic<int64_t> in_flight{0};    // requests accepted and not answered
  std::atomic<int64_t> ready{0};        // 1 while served
  std::atomic<int64_t> weight_bytes{0};
  std::atomic<int64_t> load_ns{0};         // of the last load; 0: there was none
  std::atomic<int64_t> plan_from_file{0};  // 1: that load took its plan from a plan file
  std::atomic<int64_t> objective_ns{0};    // answers shall take no longer; 0: nothing was stated
};

class ServerMetrics {
 public:
  virtual ~ServerMetrics() = default;
  // Created at first use, kept for the life of the process (a reloaded version goes on counting).
  virtual ModelMetrics& ForModel(absl::string_view model, int64_t version) = 0;
  // A request that failed before it reached a model.
  virtual void RecordRejected(absl::StatusCode code) = 0;
  // More to show: called at every scrape, by any thread, as long as anything renders. Points of the
  // same name become one family, also those of several sources.
  virtual void AddSource(std::function<std::vector<MetricPoint>()> source) = 0;
  // The same for what has prometheus-cpp's types already, as a prometheus::Registry: it is asked as
  // long as its owner keeps it. A family of a name that is shown already joins it where both are of
  // counters or both of gauges, and is left out otherwise; names and labels are the owner's matter.
  virtual void AddCollectable(std::weak_ptr<prometheus::Collectable> collectable) = 0;
  // The other way round: everything that text shows, for an embedder with an exposer of its own.
  // Belongs to this object.
  virtual prometheus::Collectable& AsCollectable() = 0;
  // Thread-safe. 100 models take about 1.5 ms as text.
  virtual std::string Render(MetricsFormat format) const = 0;
  std::string RenderText() const { return Render(MetricsFormat::kText); }
};

// What one core can do at most: "bit_macs_per_s", "l3_bytes_per_s" (kernels/roofline/roofline.h).
struct MachineLimit {
  std::string key;
  double per_second = 0;
};

struct HostInfo {
  std::string cpu, isa, compiler;
  double cpu_budget_cores = 0;
  std::vector<MachineLimit> limits = {};  // empty: not measured
};

struct MetricsOptions {
  bool triton_names = false;  // also shows what Triton's dashboards ask for: triton_families.h
};

std::unique_ptr<ServerMetrics> CreateServerMetrics(const HostInfo& host,
                                                   const MetricsOptions& options = {});

}  // namespace bitmill
