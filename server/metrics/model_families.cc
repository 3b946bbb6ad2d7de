#include "server/metrics/model_families.h"

#include <array>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace bitmill {
namespace {

using prometheus::MetricFamily;

constexpr auto kCounter = prometheus::MetricType::Counter;
constexpr auto kGauge = prometheus::MetricType::Gauge;
constexpr auto kHistogram = prometheus::MetricType::Histogram;
constexpr double kNanosPerSecond = 1e9;

// `one` is how often the unit that was recorded goes into the one that is shown. A quotient of
// whole numbers is the double nearest to a bound, and is written as short as it is.
template <size_t kBounds>
void AddHistogram(MetricFamily& family, MetricLabels labels,
                  const std::array<int64_t, kBounds>& bounds,
                  const HistogramCounts<kBounds>& counts, double one) {
  prometheus::ClientMetric::Histogram& histogram = AddMetric(family, std::move(labels)).histogram;
  histogram.bucket.reserve(kBounds + 1);
  uint64_t cumulative = 0;
  for (size_t i = 0; i <= kBounds; ++i) {
    cumulative += static_cast<uint64_t>(counts.buckets[i]);
    const double bound = i < kBounds ? static_cast<double>(bounds[i]) / one
                                     : std::numeric_limits<double>::infinity();
    histogram.bucket.push_back({.cumulative_count = cumulative, .upper_bound = bound});
  }
  histogram.sample_count = cumulative;
  histogram.sample_sum = static_cast<double>(counts.sum) / one;
}

double Load(const std::atomic<int64_t>& value) {
  return static_cast<double>(value.load(std::memory_order_relaxed));
}

HistogramExtras DurationExtras(const ModelRecorder& recorder, MetricsFormat format) {
  HistogramExtras extras;
  for (size_t bucket = 0; bucket <= kDurationBoundsNs.size(); ++bucket) {
    const std::optional<Exemplar> exemplar = recorder.DurationExemplar(bucket);
    if (!exemplar.has_value()) continue;
    extras.exemplars.push_back({.bucket = bucket,
                                .trace_id = exemplar->trace.Hex(),
                                .value = static_cast<double>(exemplar->value) / kNanosPerSecond,
                                .unix_seconds = static_cast<double>(exemplar->unix_millis) / 1e3});
  }
  if (format == MetricsFormat::kProtobuf) {
    extras.native = std::make_unique<NativeCounts>(recorder.DurationCounts());
  }
  return extras;
}

// Moves those that have metrics to the page.
void Append(std::initializer_list<MetricFamily*> families, MetricPage& page) {
  for (MetricFamily* const family : families) {
    if (!family->metric.empty()) page.families.push_back(std::move(*family));
  }
}

// Histograms and counters, from one sum over the stripes.
void AddCounted(const std::vector<ModelSeries>& models, MetricsFormat format, MetricPage& page) {
  MetricFamily requests = NewFamily("bitmill_requests_total", kCounter,
                                    "Finished inference requests by canonical status code.");
  MetricFamily duration =
      NewFamily("bitmill_request_duration_seconds", kHistogram,
                "Time from a request received to its answer handed over, all codes.");
  MetricFamily stages = NewFamily("bitmill_stage_duration_seconds", kHistogram,
                                  "Time that successful requests spent in each stage.");
  MetricFamily batch_rows = NewFamily("bitmill_batch_rows", kHistogram, "Rows of each execution.");
  MetricFamily rows = NewFamily("bitmill_rows_total", kCounter, "Rows of successful requests.");
  MetricFamily executions =
      NewFamily("bitmill_executions_total", kCounter, "Executions of the model.");
  for (MetricFamily* const family : {&duration, &batch_rows, &rows, &executions}) {
    family->metric.reserve(models.size());
  }
  stages.metric.reserve(models.size() * kStages);
  std::vector<HistogramExtras> extras;
  for (const auto& [labels, recorder] : models) {
    const ModelCounts counts = recorder->Counts();
    for (size_t code = 0; code < kStatusCodes; ++code) {
      if (code != 0 && counts.requests[code] == 0) continue;
      AddValue(
          requests,
          WithLabel(labels, "code", absl::StatusCodeToString(static_cast<absl::StatusCode>(code))),
          static_cast<double>(counts.requests[code]));
    }
    AddHistogram(duration, labels, kDurationBoundsNs, counts.duration, kNanosPerSecond);
    if (format != MetricsFormat::kText) extras.push_back(DurationExtras(*recorder, format));
    for (size_t i = 0; i < kStages; ++i) {
      AddHistogram(stages, WithLabel(labels, "stage", kStageNames[i]), kStageBoundsNs,
                   counts.stages[i], kNanosPerSecond);
    }
    AddHistogram(batch_rows, labels, kBatchRowBounds, counts.batch_rows, 1);
    AddValue(rows, labels, static_cast<double>(counts.rows));
    int64_t runs = 0;
    for (const int64_t count : counts.batch_rows.buckets) runs += count;
    AddValue(executions, labels, static_cast<double>(runs));
  }
  if (!extras.empty()) page.extras.emplace(duration.name, std::move(extras));
  Append({&requests, &duration, &stages, &batch_rows, &rows, &executions}, page);
}

void AddStates(const std::vector<ModelSeries>& models, MetricPage& page) {
  MetricFamily queue =
      NewFamily("bitmill_queue_depth", kGauge, "Requests that wait for an execution.");
  MetricFamily in_flight =
      NewFamily("bitmill_in_flight", kGauge, "Requests accepted and not yet answered.");
  MetricFamily ready = NewFamily("bitmill_model_ready", kGauge, "1 while the version is served.");
  MetricFamily weights =
      NewFamily("bitmill_model_weight_bytes", kGauge, "Packed weights held in memory.");
  MetricFamily loads =
      NewFamily("bitmill_model_load_seconds", kGauge,
                "Time of the last load; plan says whether it was compiled or came from a file.");
  for (const auto& [labels, recorder] : models) {
    AddValue(queue, labels, Load(recorder->queue_depth));
    AddValue(in_flight, labels, Load(recorder->in_flight));
    AddValue(ready, labels, Load(recorder->ready));
    AddValue(weights, labels, Load(recorder->weight_bytes));
    if (const double load_ns = Load(recorder->load_ns); load_ns > 0.0) {
      const bool from_file = recorder->plan_from_file.load(std::memory_order_relaxed) != 0;
      AddValue(loads, WithLabel(labels, "plan", from_file ? "file" : "compiled"),
               load_ns / kNanosPerSecond);
    }
  }
  Append({&queue, &in_flight, &ready, &weights, &loads}, page);
}

}  // namespace

MetricLabels WithLabel(const MetricLabels& labels, const char* name, std::string value) {
  MetricLabels more = labels;
  more.push_back({.name = name, .value = std::move(value)});
  return more;
}

void AddModelFamilies(const std::vector<ModelSeries>& models, MetricsFormat format,
                      MetricPage& page) {
  if (models.empty()) return;
  AddCounted(models, format, page);
  AddStates(models, page);
}

}  // namespace bitmill
