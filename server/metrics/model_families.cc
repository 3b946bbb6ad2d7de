#include "server/metrics/model_families.h"

#include <array>
#include <initializer_list>
#include <limits>
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

std::vector<BucketExemplar> DurationExemplars(const ModelRecorder& recorder) {
  std::vector<BucketExemplar> exemplars;
  for (size_t bucket = 0; bucket <= kDurationBoundsNs.size(); ++bucket) {
    const std::optional<Exemplar> exemplar = recorder.DurationExemplar(bucket);
    if (!exemplar.has_value()) continue;
    exemplars.push_back({.bucket = bucket,
                         .trace_id = exemplar->trace.Hex(),
                         .value = static_cast<double>(exemplar->value) / kNanosPerSecond,
                         .unix_seconds = static_cast<double>(exemplar->unix_millis) / 1e3});
  }
  return exemplars;
}

// Histograms of durations, and what a format can carry beside them.
class DurationFamily {
 public:
  DurationFamily(MetricFamily family, MetricsFormat format, size_t metrics)
      : format_(format), family_(std::move(family)) {
    family_.metric.reserve(metrics);
  }

  // `counts` are DurationCounts.
  template <typename Counts>
  void Add(MetricLabels labels, const Counts& counts, std::vector<BucketExemplar> exemplars = {}) {
    AddHistogram(family_, std::move(labels), Counts::kClassicBoundsNs, counts.Classic(),
                 kNanosPerSecond);
    if (format_ == MetricsFormat::kText) return;
    HistogramExtras& extras = extras_.emplace_back();
    extras.exemplars = std::move(exemplars);
    if (format_ == MetricsFormat::kProtobuf) extras.native = counts.InNativeBuckets();
  }

  void MoveTo(MetricPage& page) {
    if (!extras_.empty()) page.extras.emplace(family_.name, std::move(extras_));
    page.families.push_back(std::move(family_));
  }

 private:
  const MetricsFormat format_;
  MetricFamily family_;
  std::vector<HistogramExtras> extras_;
};

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
  DurationFamily duration(
      NewFamily("bitmill_request_duration_seconds", kHistogram,
                "Time from a request received to its answer handed over, all codes."),
      format, models.size());
  DurationFamily stages(NewFamily("bitmill_stage_duration_seconds", kHistogram,
                                  "Time that successful requests spent in each stage."),
                        format, models.size() * kStages);
  MetricFamily batch_rows = NewFamily("bitmill_batch_rows", kHistogram, "Rows of each execution.");
  MetricFamily rows = NewFamily("bitmill_rows_total", kCounter, "Rows of successful requests.");
  MetricFamily executions =
      NewFamily("bitmill_executions_total", kCounter, "Executions of the model.");
  MetricFamily objective =
      NewFamily("bitmill_objective_answers_total", kCounter,
                "Successful requests of models with an objective, within it and late.");
  for (MetricFamily* const family : {&batch_rows, &rows, &executions}) {
    family->metric.reserve(models.size());
  }
  for (const auto& [labels, recorder] : models) {
    const ModelCounts counts = recorder->Counts();
    for (size_t code = 0; code < kStatusCodes; ++code) {
      if (code != 0 && counts.requests[code] == 0) continue;
      AddValue(
          requests,
          WithLabel(labels, "code", absl::StatusCodeToString(static_cast<absl::StatusCode>(code))),
          static_cast<double>(counts.requests[code]));
    }
    duration.Add(labels, counts.duration,
                 format == MetricsFormat::kText ? std::vector<BucketExemplar>()
                                                : DurationExemplars(*recorder));
    for (size_t i = 0; i < kStages; ++i) {
      stages.Add(WithLabel(labels, "stage", kStageNames[i]), counts.stages[i]);
    }
    AddHistogram(batch_rows, labels, kBatchRowBounds, counts.batch_rows, 1);
    AddValue(rows, labels, static_cast<double>(counts.rows));
    int64_t runs = 0;
    for (const int64_t count : counts.batch_rows.buckets) runs += count;
    AddValue(executions, labels, static_cast<double>(runs));
    if (Load(recorder->objective_ns) > 0 || counts.within_objective + counts.late > 0) {
      AddValue(objective, WithLabel(labels, "result", "within"),
               static_cast<double>(counts.within_objective));
      AddValue(objective, WithLabel(labels, "result", "late"), static_cast<double>(counts.late));
    }
  }
  page.families.push_back(std::move(requests));
  duration.MoveTo(page);
  stages.MoveTo(page);
  Append({&batch_rows, &rows, &executions, &objective}, page);
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
