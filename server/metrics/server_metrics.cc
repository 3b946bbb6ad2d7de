// Turns the counters into Prometheus families when somebody asks.
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"
#include "server/metrics/metrics.h"
#include "server/metrics/model_recorder.h"
#include "server/metrics/process_metrics.h"

namespace bitmill {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

struct Family {
  Family(const char* name, const char* help, prometheus::MetricType type) {
    family.name = name;
    family.help = help;
    family.type = type;
  }
  void AddCounter(Labels labels, double value) { Add(std::move(labels)).counter.value = value; }
  void AddGauge(Labels labels, double value) { Add(std::move(labels)).gauge.value = value; }
  // `unit` is the value of 1 in the unit that is shown.
  template <size_t kBounds>
  void AddHistogram(Labels labels, const std::array<int64_t, kBounds>& bounds,
                    const HistogramCounts<kBounds>& counts, double unit) {
    prometheus::ClientMetric::Histogram& histogram = Add(std::move(labels)).histogram;
    uint64_t cumulative = 0;
    for (size_t i = 0; i <= kBounds; ++i) {
      cumulative += static_cast<uint64_t>(counts.buckets[i]);
      const double bound = i < kBounds ? static_cast<double>(bounds[i]) * unit
                                       : std::numeric_limits<double>::infinity();
      histogram.bucket.push_back({cumulative, bound});
    }
    histogram.sample_count = cumulative;
    histogram.sample_sum = static_cast<double>(counts.sum) * unit;
  }

  prometheus::MetricFamily family;

 private:
  prometheus::ClientMetric& Add(Labels labels) {
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }
};

constexpr double kSecondsPerNano = 1e-9;
constexpr auto kCounter = prometheus::MetricType::Counter;
constexpr auto kGauge = prometheus::MetricType::Gauge;
constexpr auto kHistogram = prometheus::MetricType::Histogram;

std::string CodeName(size_t code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

class PrometheusMetrics final : public ServerMetrics, public prometheus::Collectable {
 public:
  explicit PrometheusMetrics(HostInfo host) : host_(std::move(host)) {}

  ModelMetrics& ForModel(absl::string_view model, int64_t version) override {
    MutexLock lock(&mutex_);
    std::unique_ptr<ModelRecorder>& recorder = models_[{std::string(model), version}];
    if (recorder == nullptr) {
      recorder = std::make_unique<ModelRecorder>(static_cast<uint32_t>(models_.size() - 1));
    }
    return *recorder;
  }

  void RecordRejected(absl::StatusCode code) override {
    const int value = static_cast<int>(code);
    const size_t index = value >= 0 && value < kStatusCodes ? static_cast<size_t>(value) : 2;
    rejected_[index].fetch_add(1, std::memory_order_relaxed);
  }

  std::string RenderText() const override {
    return prometheus::TextSerializer().Serialize(Collect());
  }

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> families;
    CollectModels(families);
    CollectServer(families);
    CollectProcess(families);
    return families;
  }

 private:
  using Recorders = std::vector<std::pair<Labels, const ModelRecorder*>>;

  Recorders AllRecorders() const {
    MutexLock lock(&mutex_);
    Recorders recorders;
    for (const auto& [key, recorder] : models_) {
      recorders.emplace_back(Labels{{"model", key.first}, {"version", absl::StrCat(key.second)}},
                             recorder.get());
    }
    return recorders;
  }

  void CollectModels(std::vector<prometheus::MetricFamily>& families) const {
    Family requests("bitmill_requests_total",
                    "Finished inference requests by canonical status code.", kCounter);
    Family duration("bitmill_request_duration_seconds",
                    "Time from a request received to its answer handed over, all codes.",
                    kHistogram);
    Family stages("bitmill_stage_duration_seconds",
                  "Time that successful requests spent in each stage.", kHistogram);
    Family batch_rows("bitmill_batch_rows", "Rows of each execution.", kHistogram);
    Family rows("bitmill_rows_total", "Rows of successful requests.", kCounter);
    Family executions("bitmill_executions_total", "Executions of the model.", kCounter);
    Family queue("bitmill_queue_depth", "Requests that wait for an execution.", kGauge);
    Family in_flight("bitmill_in_flight", "Requests accepted and not yet answered.", kGauge);
    Family ready("bitmill_model_ready", "1 while the version is served.", kGauge);
    Family weights("bitmill_model_weight_bytes", "Packed weights held in memory.", kGauge);
    Family loads("bitmill_model_load_seconds",
                 "Time of the last load; plan says whether it was compiled or came from a file.",
                 kGauge);
    for (const auto& [labels, recorder] : AllRecorders()) {
      const ModelCounts counts = recorder->Counts();
      for (size_t code = 0; code < kStatusCodes; ++code) {
        if (code != 0 && counts.requests[code] == 0) continue;
        requests.AddCounter(With(labels, "code", CodeName(code)),
                            static_cast<double>(counts.requests[code]));
      }
      duration.AddHistogram(labels, kDurationBoundsNs, counts.duration, kSecondsPerNano);
      for (size_t i = 0; i < kStages; ++i) {
        stages.AddHistogram(With(labels, "stage", kStageNames[i]), kStageBoundsNs, counts.stages[i],
                            kSecondsPerNano);
      }
      batch_rows.AddHistogram(labels, kBatchRowBounds, counts.batch_rows, 1);
      rows.AddCounter(labels, static_cast<double>(counts.rows));
      int64_t runs = 0;
      for (const int64_t count : counts.batch_rows.buckets) runs += count;
      executions.AddCounter(labels, static_cast<double>(runs));
      queue.AddGauge(labels, Load(recorder->queue_depth));
      in_flight.AddGauge(labels, Load(recorder->in_flight));
      ready.AddGauge(labels, Load(recorder->ready));
      weights.AddGauge(labels, Load(recorder->weight_bytes));
      if (const double load_ns = Load(recorder->load_ns); load_ns > 0.0) {
        const bool from_file = recorder->plan_from_file.load(std::memory_order_relaxed) != 0;
        loads.AddGauge(With(labels, "plan", from_file ? "file" : "compiled"),
                       load_ns * kSecondsPerNano);
      }
    }
    for (Family* family : {&requests, &duration, &stages, &batch_rows, &rows, &executions, &queue,
                           &in_flight, &ready, &weights, &loads}) {
      if (!family->family.metric.empty()) families.push_back(std::move(family->family));
    }
  }

  void CollectServer(std::vector<prometheus::MetricFamily>& families) const {
    Family rejected("bitmill_rejected_requests_total",
                    "Requests that failed before a model was known, by canonical status code.",
                    kCounter);
    for (size_t code = 1; code < kStatusCodes; ++code) {
      const int64_t count = rejected_[code].load(std::memory_order_relaxed);
      // The commonest one is shown from the start, so that its rate is known when it first rises.
      if (count == 0 && code != static_cast<size_t>(absl::StatusCode::kNotFound)) continue;
      rejected.AddCounter({{"code", CodeName(code)}}, static_cast<double>(count));
    }
    Family build("bitmill_build_info", "Always 1; the labels describe the program.", kGauge);
    build.AddGauge({{"version", BITMILL_VERSION}, {"compiler", host_.compiler}}, 1);
    Family host("bitmill_host_info", "Always 1; the labels describe the machine.", kGauge);
    host.AddGauge({{"cpu", host_.cpu}, {"isa", host_.isa}}, 1);
    Family budget("bitmill_cpu_budget_cores", "CPUs that the process may use.", kGauge);
    budget.AddGauge({}, host_.cpu_budget_cores);
    for (Family* family : {&rejected, &build, &host, &budget}) {
      families.push_back(std::move(family->family));
    }
    CollectLimits(families);
  }

  void CollectLimits(std::vector<prometheus::MetricFamily>& families) const {
    Family products("bitmill_machine_macs_per_second",
                    "Multiply-accumulates that one core can do at most, measured at the start.",
                    kGauge);
    Family reads("bitmill_machine_read_bytes_per_second",
                 "Bytes that one core can read at most, measured at the start.", kGauge);
    for (const MachineLimit& limit : host_.limits) {
      absl::string_view name = limit.key;
      if (absl::ConsumeSuffix(&name, "_macs_per_s")) {
        products.AddGauge({{"products", std::string(name)}}, limit.per_second);
      } else if (absl::ConsumeSuffix(&name, "_bytes_per_s")) {
        reads.AddGauge({{"level", std::string(name)}}, limit.per_second);
      }
    }
    for (Family* family : {&products, &reads}) {
      if (!family->family.metric.empty()) families.push_back(std::move(family->family));
    }
  }

  static void CollectProcess(std::vector<prometheus::MetricFamily>& families) {
    const ProcessMetrics process = ReadProcessMetrics();
    const auto add = [&families](const char* name, const char* help, prometheus::MetricType type,
                                 double value) {
      Family family(name, help, type);
      if (type == kCounter) {
        family.AddCounter({}, value);
      } else {
        family.AddGauge({}, value);
      }
      families.push_back(std::move(family.family));
    };
    add("bitmill_process_cpu_seconds_total", "User and system CPU time of the process.", kCounter,
        process.cpu_seconds);
    add("bitmill_process_resident_memory_bytes", "Physical memory in use.", kGauge,
        static_cast<double>(process.resident_bytes));
    add("bitmill_process_virtual_memory_bytes", "Address space in use.", kGauge,
        static_cast<double>(process.virtual_bytes));
    add("bitmill_process_threads", "Threads of the process.", kGauge,
        static_cast<double>(process.threads));
    add("bitmill_process_open_fds", "Open file descriptors.", kGauge,
        static_cast<double>(process.open_fds));
    add("bitmill_process_max_fds", "Most file descriptors that may be open.", kGauge,
        static_cast<double>(process.max_fds));
    add("bitmill_process_start_time_seconds", "Start of the process, seconds since 1970.", kGauge,
        process.start_unix_seconds);
  }

  static Labels With(Labels labels, const char* name, std::string value) {
    labels.push_back({name, std::move(value)});
    return labels;
  }
  static double Load(const std::atomic<int64_t>& value) {
    return static_cast<double>(value.load(std::memory_order_relaxed));
  }

  const HostInfo host_;
  mutable Mutex mutex_;
  std::map<std::pair<std::string, int64_t>, std::unique_ptr<ModelRecorder>> models_
      ABSL_GUARDED_BY(mutex_);
  std::array<std::atomic<int64_t>, kStatusCodes> rejected_{};
};

}  // namespace

std::unique_ptr<ServerMetrics> CreateServerMetrics(const HostInfo& host) {
  return std::make_unique<PrometheusMetrics>(host);
}

}  // namespace bitmill
