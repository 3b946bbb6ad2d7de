// Turns the counters into families when somebody asks.
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/mutex.h"
#include "server/metrics/metrics.h"
#include "server/metrics/model_families.h"
#include "server/metrics/model_recorder.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/triton_families.h"

namespace bitmill {
namespace {

constexpr auto kCounter = FamilyType::kCounter;
constexpr auto kGauge = FamilyType::kGauge;

void AddOne(std::vector<MetricFamily>& families, const char* name, FamilyType type,
            const char* help, MetricLabels labels, double value) {
  MetricFamily& family = families.emplace_back();
  family.name = name;
  family.help = help;
  family.type = type;
  family.samples.push_back({.labels = std::move(labels), .value = value, .histogram = nullptr});
}

void AddProcess(std::vector<MetricFamily>& families) {
  const ProcessMetrics process = ReadProcessMetrics();
  AddOne(families, "bitmill_process_cpu_seconds_total", kCounter,
         "User and system CPU time of the process.", {}, process.cpu_seconds);
  AddOne(families, "bitmill_process_resident_memory_bytes", kGauge, "Physical memory in use.", {},
         static_cast<double>(process.resident_bytes));
  AddOne(families, "bitmill_process_virtual_memory_bytes", kGauge, "Address space in use.", {},
         static_cast<double>(process.virtual_bytes));
  AddOne(families, "bitmill_process_threads", kGauge, "Threads of the process.", {},
         static_cast<double>(process.threads));
  AddOne(families, "bitmill_process_open_fds", kGauge, "Open file descriptors.", {},
         static_cast<double>(process.open_fds));
  AddOne(families, "bitmill_process_max_fds", kGauge, "Most file descriptors that may be open.", {},
         static_cast<double>(process.max_fds));
  AddOne(families, "bitmill_process_start_time_seconds", kGauge,
         "Start of the process, seconds since 1970.", {}, process.start_unix_seconds);
}

// Points of a name join the family of that name, wherever it came from.
void AddPoints(std::vector<MetricPoint> points, std::vector<MetricFamily>& families,
               absl::flat_hash_map<std::string, size_t>& place_of) {
  for (MetricPoint& point : points) {
    const auto [place, is_new] = place_of.try_emplace(point.name, families.size());
    if (is_new) {
      MetricFamily& family = families.emplace_back();
      family.name = std::move(point.name);
      family.help = std::move(point.help);
      family.type = point.type == MetricType::kCounter ? kCounter : kGauge;
    }
    if (families[place->second].type == FamilyType::kHistogram) continue;  // has no such points
    families[place->second].samples.push_back(
        {.labels = std::move(point.labels), .value = point.value, .histogram = nullptr});
  }
}

class PrometheusMetrics final : public ServerMetrics {
 public:
  PrometheusMetrics(HostInfo host, const MetricsOptions& options)
      : host_(std::move(host)), options_(options) {}

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

  void AddSource(std::function<std::vector<MetricPoint>()> source) override {
    MutexLock lock(&mutex_);
    sources_.push_back(std::move(source));
  }

  std::string Render(MetricsFormat format) const override {
    std::vector<MetricFamily> families;
    const std::vector<ModelSeries> models = AllModels();
    AddModelFamilies(models, format, families);
    AddServer(families);
    AddLimits(families);
    AddProcess(families);
    if (options_.triton_names) AddTritonFamilies(models, cpu_share_, families);
    AddSources(families);
    return WriteMetrics(families, format);
  }

 private:
  std::vector<ModelSeries> AllModels() const {
    MutexLock lock(&mutex_);
    std::vector<ModelSeries> models;
    for (const auto& [key, recorder] : models_) {
      models.push_back({MetricLabels{{"model", key.first}, {"version", absl::StrCat(key.second)}},
                        recorder.get()});
    }
    return models;
  }

  void AddServer(std::vector<MetricFamily>& families) const {
    MetricFamily& rejected = families.emplace_back();
    rejected.name = "bitmill_rejected_requests_total";
    rejected.help = "Requests that failed before a model was known, by canonical status code.";
    rejected.type = kCounter;
    for (size_t code = 1; code < kStatusCodes; ++code) {
      const int64_t count = rejected_[code].load(std::memory_order_relaxed);
      // The commonest one is shown from the start, so that its rate is known when it first rises.
      const auto name = static_cast<absl::StatusCode>(code);
      if (count == 0 && name != absl::StatusCode::kNotFound) continue;
      rejected.samples.push_back({.labels = {{"code", absl::StatusCodeToString(name)}},
                                  .value = static_cast<double>(count),
                                  .histogram = nullptr});
    }
    AddOne(families, "bitmill_build_info", kGauge, "Always 1; the labels describe the program.",
           {{"version", BITMILL_VERSION}, {"compiler", host_.compiler}}, 1);
    AddOne(families, "bitmill_host_info", kGauge, "Always 1; the labels describe the machine.",
           {{"cpu", host_.cpu}, {"isa", host_.isa}}, 1);
    AddOne(families, "bitmill_cpu_budget_cores", kGauge, "CPUs that the process may use.", {},
           host_.cpu_budget_cores);
  }

  void AddLimits(std::vector<MetricFamily>& families) const {
    std::vector<MetricPoint> points;
    for (const MachineLimit& limit : host_.limits) {
      absl::string_view name = limit.key;
      if (absl::ConsumeSuffix(&name, "_macs_per_s")) {
        points.push_back(
            {.name = "bitmill_machine_macs_per_second",
             .help = "Multiply-accumulates that one core can do at most, measured at the start.",
             .labels = {{"products", std::string(name)}},
             .value = limit.per_second});
      } else if (absl::ConsumeSuffix(&name, "_bytes_per_s")) {
        points.push_back({.name = "bitmill_machine_read_bytes_per_second",
                          .help = "Bytes that one core can read at most, measured at the start.",
                          .labels = {{"level", std::string(name)}},
                          .value = limit.per_second});
      }
    }
    absl::flat_hash_map<std::string, size_t> place_of;
    AddPoints(std::move(points), families, place_of);
  }

  void AddSources(std::vector<MetricFamily>& families) const {
    std::vector<std::function<std::vector<MetricPoint>()>> sources;
    {
      MutexLock lock(&mutex_);
      sources = sources_;
    }
    if (sources.empty()) return;
    absl::flat_hash_map<std::string, size_t> place_of;
    for (size_t i = 0; i < families.size(); ++i) place_of.emplace(families[i].name, i);
    for (const auto& source : sources) AddPoints(source(), families, place_of);
  }

  const HostInfo host_;
  const MetricsOptions options_;
  mutable MachineCpuShare cpu_share_;
  mutable Mutex mutex_;
  std::map<std::pair<std::string, int64_t>, std::unique_ptr<ModelRecorder>> models_
      ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<std::vector<MetricPoint>()>> sources_ ABSL_GUARDED_BY(mutex_);
  std::array<std::atomic<int64_t>, kStatusCodes> rejected_{};
};

}  // namespace

std::unique_ptr<ServerMetrics> CreateServerMetrics(const HostInfo& host,
                                                   const MetricsOptions& options) {
  return std::make_unique<PrometheusMetrics>(host, options);
}

}  // namespace bitmill
