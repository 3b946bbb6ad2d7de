// Turns the counters into families of prometheus-cpp when somebody asks; write_families.h writes
// them.
#include <algorithm>
#include <exception>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/log.h"
#include "base/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/gauge.h"
#include "prometheus/registry.h"
#include "server/metrics/metric_page.h"
#include "server/metrics/metrics.h"
#include "server/metrics/model_families.h"
#include "server/metrics/model_recorder.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/triton_families.h"

namespace bitmill {
namespace {

using prometheus::MetricFamily;

constexpr auto kCounter = prometheus::MetricType::Counter;
constexpr auto kGauge = prometheus::MetricType::Gauge;

void AddOne(std::vector<MetricFamily>& families, const char* name, prometheus::MetricType type,
            const char* help, MetricLabels labels, double value) {
  AddValue(families.emplace_back(NewFamily(name, type, help)), std::move(labels), value);
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

// What the machine is: it never changes, so that the library's own gauges hold it.
void AddMachine(const HostInfo& host, prometheus::Registry& registry) {
  const auto add = [&registry](const char* name, const char* help, const prometheus::Labels& labels,
                               double value) {
    prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels).Set(value);
  };
  add("bitmill_host_info", "Always 1; the labels describe the machine.",
      {{"cpu", host.cpu}, {"isa", host.isa}}, 1);
  add("bitmill_cpu_budget_cores", "CPUs that the process may use.", {}, host.cpu_budget_cores);
  for (const MachineLimit& limit : host.limits) {
    absl::string_view name = limit.key;
    if (absl::ConsumeSuffix(&name, "_macs_per_s")) {
      add("bitmill_machine_macs_per_second",
          "Multiply-accumulates that one core can do at most, measured at the start.",
          {{"products", std::string(name)}}, limit.per_second);
    } else if (absl::ConsumeSuffix(&name, "_bytes_per_s")) {
      add("bitmill_machine_read_bytes_per_second",
          "Bytes that one core can read at most, measured at the start.",
          {{"level", std::string(name)}}, limit.per_second);
    }
  }
}

// Families and values that join those of the same name, wherever these came from. What has another
// type than the family that is there, or is part of a histogram, which has no more than it has, is
// left out: no format allows a name twice.
class Joiner {
 public:
  explicit Joiner(std::vector<MetricFamily>& families) : families_(families) {
    for (size_t i = 0; i < families.size(); ++i) place_of_.emplace(families[i].name, i);
  }

  void Add(std::vector<MetricPoint> points) {
    for (MetricPoint& point : points) {
      const auto [place, is_new] = place_of_.try_emplace(point.name, families_.size());
      if (is_new) {
        families_.push_back(NewFamily(std::move(point.name),
                                      point.type == MetricType::kCounter ? kCounter : kGauge,
                                      std::move(point.help)));
      }
      MetricFamily& family = families_[place->second];
      if (family.type != kCounter && family.type != kGauge) continue;
      MetricLabels labels;
      labels.reserve(point.labels.size());
      for (auto& [name, value] : point.labels) {
        labels.push_back({.name = std::move(name), .value = std::move(value)});
      }
      AddValue(family, std::move(labels), point.value);
    }
  }

  void Add(std::vector<MetricFamily> more) {
    for (MetricFamily& family : more) {
      const auto [place, is_new] = place_of_.try_emplace(family.name, families_.size());
      if (is_new) {
        families_.push_back(std::move(family));
        continue;
      }
      MetricFamily& there = families_[place->second];
      if (there.type != family.type || (family.type != kCounter && family.type != kGauge)) continue;
      std::move(family.metric.begin(), family.metric.end(), std::back_inserter(there.metric));
    }
  }

 private:
  std::vector<MetricFamily>& families_;
  absl::flat_hash_map<std::string, size_t> place_of_;
};

class PrometheusMetrics final : public ServerMetrics, public prometheus::Collectable {
 public:
  PrometheusMetrics(const HostInfo& host, const MetricsOptions& options)
      : compiler_(host.compiler), options_(options) {
    AddMachine(host, machine_);
  }

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

  void AddCollectable(std::weak_ptr<prometheus::Collectable> collectable) override {
    MutexLock lock(&mutex_);
    collectables_.push_back(std::move(collectable));
  }

  prometheus::Collectable& AsCollectable() override { return *this; }

  std::vector<MetricFamily> Collect() const override {
    return PageFor(MetricsFormat::kText).families;
  }

  std::string Render(MetricsFormat format) const override {
    return WriteMetrics(PageFor(format), format);
  }

 private:
  MetricPage PageFor(MetricsFormat format) const {
    MetricPage page;
    std::vector<MetricFamily>& families = page.families;
    const std::vector<ModelSeries> models = AllModels();
    AddModelFamilies(models, format, page);
    AddServer(families);
    AddProcess(families);
    if (options_.triton_names) AddTritonFamilies(models, cpu_share_, families);
    AddOthers(families);
    return page;
  }

  std::vector<ModelSeries> AllModels() const {
    MutexLock lock(&mutex_);
    std::vector<ModelSeries> models;
    models.reserve(models_.size());
    for (const auto& [key, recorder] : models_) {
      models.push_back({MetricLabels{{"model", key.first}, {"version", absl::StrCat(key.second)}},
                        recorder.get()});
    }
    return models;
  }

  void AddServer(std::vector<MetricFamily>& families) const {
    MetricFamily& rejected = families.emplace_back(
        NewFamily("bitmill_rejected_requests_total", kCounter,
                  "Requests that failed before a model was known, by canonical status code."));
    for (size_t code = 1; code < kStatusCodes; ++code) {
      const int64_t count = rejected_[code].load(std::memory_order_relaxed);
      // The commonest one is shown from the start, so that its rate is known when it first rises.
      const auto name = static_cast<absl::StatusCode>(code);
      if (count == 0 && name != absl::StatusCode::kNotFound) continue;
      AddValue(rejected, {{"code", absl::StatusCodeToString(name)}}, static_cast<double>(count));
    }
    AddOne(families, "bitmill_build_info", kGauge, "Always 1; the labels describe the program.",
           {{"version", BITMILL_VERSION}, {"compiler", compiler_}}, 1);
  }

  // What the library holds, and what others say; called without the lock.
  void AddOthers(std::vector<MetricFamily>& families) const {
    std::vector<std::function<std::vector<MetricPoint>()>> sources;
    std::vector<std::weak_ptr<prometheus::Collectable>> collectables;
    {
      MutexLock lock(&mutex_);
      sources = sources_;
      collectables = collectables_;
    }
    Joiner joiner(families);
    joiner.Add(machine_.Collect());
    for (const auto& source : sources) joiner.Add(source());
    for (const std::weak_ptr<prometheus::Collectable>& weak : collectables) {
      if (const auto collectable = weak.lock()) joiner.Add(CollectFrom(*collectable));
    }
  }

  // What it was asked for in vain is left out, and the rest of the page shown.
  static std::vector<MetricFamily> CollectFrom(const prometheus::Collectable& collectable) {
    try {
      return collectable.Collect();
    } catch (const std::exception& error) {
      LogWarning(absl::StrCat("metrics of a collectable are left out: ", error.what()));
      return {};
    }
  }

  const std::string compiler_;
  const MetricsOptions options_;
  prometheus::Registry machine_;
  mutable MachineCpuShare cpu_share_;
  mutable Mutex mutex_;
  std::map<std::pair<std::string, int64_t>, std::unique_ptr<ModelRecorder>> models_
      ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<std::vector<MetricPoint>()>> sources_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<prometheus::Collectable>> collectables_ ABSL_GUARDED_BY(mutex_);
  std::array<std::atomic<int64_t>, kStatusCodes> rejected_{};
};

}  // namespace

std::unique_ptr<ServerMetrics> CreateServerMetrics(const HostInfo& host,
                                                   const MetricsOptions& options) {
  return std::make_unique<PrometheusMetrics>(host, options);
}

}  // namespace bitmill
