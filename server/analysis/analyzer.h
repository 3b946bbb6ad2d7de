// The thread of the performance analysis: collects what finished ten times a second, and once a
// second judges, predicts, warns and adapts. What it decides are pure functions of what it
// collected; this is the shell around them, and the memory of the last minutes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/analysis/adapter.h"
#include "server/analysis/analysis_source.h"
#include "server/analysis/host_sampler.h"
#include "server/analysis/observation.h"
#include "server/analysis/power_governor.h"
#include "server/analysis/predictor.h"
#include "server/analysis/report.h"
#include "server/analysis/routing_report.h"
#include "server/analysis/warning_book.h"
#include "server/analysis/window_collector.h"
#include "server/metrics/metrics.h"
#include "server/metrics/request_log.h"

namespace bitmill {

// A version that is served now.
struct ObservedModel {
  uint32_t id = 0;  // ModelMetrics::id
  const ModelMetrics* metrics = nullptr;
  ModelFacts facts = {};
  ModelControls controls = {}, configured = {};
  Objective objective = {};
  std::vector<OperationReport> operations = {};
  std::optional<RoutingReport> routing = {};
  std::optional<DivisionReport> division = {};
};

// What is served, and how to change it. Thread-safe.
class ServedVersions : public ControlSink {
 public:
  virtual std::vector<ObservedModel> Ready() const = 0;
};

struct AnalyzerOptions {
  MachineLimits limits = {};
  MonotonicNanos collect_ns = 100'000'000;
  MonotonicNanos hurried_collect_ns = 25'000'000;  // while many records come
  MonotonicNanos tick_ns = 1'000'000'000;
  MonotonicNanos window_ns = 5'000'000'000;
  size_t history = 600;  // ticks that are kept
  int io_threads = 1;    // that receive requests
  PowerOptions power = {};
  // What is known of the quality of watched versions; asked each tick. Null: none is watched.
  std::function<std::vector<QualityReport>()> quality = nullptr;
};

class Analyzer final : public AnalysisSource {
 public:
  // Borrows everything. Nothing happens before Start() or Tick().
  Analyzer(const AnalyzerOptions& options, RequestLog& log, ServedVersions& served,
           HostSampler& host, const Clock& clock);
  ~Analyzer() override;
  Analyzer(const Analyzer&) = delete;
  Analyzer& operator=(const Analyzer&) = delete;

  // The thread; Stop() waits for it and is idempotent.
  void Start();
  void Stop();

  // bitmill_power_... Thread-safe.
  std::vector<MetricPoint> PowerMetrics() const { return power_.Metrics(); }

  // What the thread does; for tests, which then do not start it.
  void Collect();
  void Tick();
  // Until the next Collect().
  MonotonicNanos CollectPeriod() const;

  std::shared_ptr<const AnalysisReport> Newest() const override;
  int64_t Subscribe(std::function<void()> on_report) override;
  void Unsubscribe(int64_t id) override;
  std::vector<HistoryPoint> History(absl::string_view model, int64_t version,
                                    int seconds) const override;
  std::vector<RequestRecord> SampledRequests(absl::string_view model, int64_t version,
                                             int count) const override;
  std::vector<Warning> Warnings(double max_age_seconds) const override;
  std::vector<Adaptation> Adaptations(absl::string_view model) const override;

 private:
  using Key = std::pair<std::string, int64_t>;  // model, version
  struct Watched {
    MonotonicNanos loaded_ns = 0;
    const ModelMetrics* metrics = nullptr;
    std::vector<ModelLoad> loads;  // see ModelWindow
    ModelPredictor predictor;
    RecentRoutes routes;
  };
  struct Kept {
    std::deque<HistoryPoint> history;
    std::vector<RequestRecord> requests;  // of the last window
  };

  void Run();
  // Follows what was loaded and unloaded since.
  void Follow(const std::vector<ObservedModel>& models);
  Observation Observe(std::vector<ObservedModel>& models);
  // The loads that matter to a window, its model's last one and when it was warm after that.
  std::vector<ModelLoad> LoadsOf(const ModelWindow& window, const HostWindow& host,
                                 Watched& watched) const;
  // Least time between two curves of a model, so that all of them together take little CPU time.
  MonotonicNanos CurvePeriod() const;
  ModelReport Report(const ModelWindow& window, const Observation& observation,
                     ModelPredictor& predictor) const;
  void AddQuality(AnalysisReport& report);
  void WarnOfQuality(const AnalysisReport& report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Publish(const Observation& observation, std::shared_ptr<AnalysisReport> report);
  void KeepHistory(const Observation& observation, const AnalysisReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Kept* FindKept(absl::string_view model, int64_t version) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const AnalyzerOptions options_;
  RequestLog& log_;
  ServedVersions& served_;
  HostSampler& host_;
  const Clock& clock_;

  // The thread's own.
  MonotonicNanos sampled_ns_ = 0;  // the host
  WindowCollector collector_;
  std::map<uint32_t, Watched> watched_;  // by ModelMetrics::id
  Adapter adapter_;
  PowerGovernor power_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const AnalysisReport> newest_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, Kept> kept_ ABSL_GUARDED_BY(mutex_);
  WarningBook warnings_ ABSL_GUARDED_BY(mutex_);
  std::vector<Adaptation> adaptations_ ABSL_GUARDED_BY(mutex_);

  Mutex subscribers_mutex_;  // held while they are called
  std::map<int64_t, std::function<void()>> subscribers_ ABSL_GUARDED_BY(subscribers_mutex_);
  int64_t next_subscriber_ ABSL_GUARDED_BY(subscribers_mutex_) = 1;

  std::thread thread_;
};

}  // namespace bitmill
