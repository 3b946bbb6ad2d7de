#include "server/metrics/model_families.h"

#include <string>
#include <utility>

namespace bitmill {
namespace {

constexpr double kNanosPerSecond = 1e9;

MetricFamily Family(const char* name, FamilyType type, const char* help) {
  return {.name = name, .help = help, .type = type};
}

// `one` is how often the unit that was recorded goes into the one that is shown. A quotient of
// whole numbers is the double nearest to a bound, and is written as short as it is.
template <size_t kBounds>
MetricFamily HistogramFamily(const char* name, const char* help,
                             const std::array<int64_t, kBounds>& bounds, double one) {
  MetricFamily family = Family(name, FamilyType::kHistogram, help);
  for (const int64_t bound : bounds) family.bounds.push_back(static_cast<double>(bound) / one);
  return family;
}

void AddValue(MetricFamily& family, MetricLabels labels, double value) {
  family.samples.push_back({.labels = std::move(labels), .value = value, .histogram = nullptr});
}

template <size_t kBounds>
HistogramSample& AddHistogram(MetricFamily& family, MetricLabels labels,
                              const HistogramCounts<kBounds>& counts, double one) {
  auto histogram = std::make_unique<HistogramSample>();
  histogram->buckets.assign(counts.buckets.begin(), counts.buckets.end());
  histogram->sum = static_cast<double>(counts.sum) / one;
  HistogramSample& added = *histogram;
  family.samples.push_back(
      {.labels = std::move(labels), .value = 0, .histogram = std::move(histogram)});
  return added;
}

double Load(const std::atomic<int64_t>& value) {
  return static_cast<double>(value.load(std::memory_order_relaxed));
}

void AddExemplars(const ModelRecorder& recorder, HistogramSample& histogram) {
  for (size_t bucket = 0; bucket < histogram.buckets.size(); ++bucket) {
    const std::optional<Exemplar> exemplar = recorder.DurationExemplar(bucket);
    if (!exemplar.has_value()) continue;
    histogram.exemplars.push_back(
        {.bucket = bucket,
         .trace_id = exemplar->trace.Hex(),
         .value = static_cast<double>(exemplar->value) / kNanosPerSecond,
         .unix_seconds = static_cast<double>(exemplar->unix_millis) / 1e3});
  }
}

// Histograms and counters, from one sum over the stripes.
void AddCounted(const std::vector<ModelSeries>& models, MetricsFormat format,
                std::vector<MetricFamily>& families) {
  MetricFamily requests = Family("bitmill_requests_total", FamilyType::kCounter,
                                 "Finished inference requests by canonical status code.");
  MetricFamily duration =
      HistogramFamily("bitmill_request_duration_seconds",
                      "Time from a request received to its answer handed over, all codes.",
                      kDurationBoundsNs, kNanosPerSecond);
  MetricFamily stages = HistogramFamily("bitmill_stage_duration_seconds",
                                        "Time that successful requests spent in each stage.",
                                        kStageBoundsNs, kNanosPerSecond);
  MetricFamily batch_rows =
      HistogramFamily("bitmill_batch_rows", "Rows of each execution.", kBatchRowBounds, 1);
  MetricFamily rows =
      Family("bitmill_rows_total", FamilyType::kCounter, "Rows of successful requests.");
  MetricFamily executions =
      Family("bitmill_executions_total", FamilyType::kCounter, "Executions of the model.");
  for (const auto& [labels, recorder] : models) {
    const ModelCounts counts = recorder->Counts();
    for (size_t code = 0; code < kStatusCodes; ++code) {
      if (code != 0 && counts.requests[code] == 0) continue;
      AddValue(
          requests,
          WithLabel(labels, "code", absl::StatusCodeToString(static_cast<absl::StatusCode>(code))),
          static_cast<double>(counts.requests[code]));
    }
    HistogramSample& durations = AddHistogram(duration, labels, counts.duration, kNanosPerSecond);
    if (format != MetricsFormat::kText) AddExemplars(*recorder, durations);
    if (format == MetricsFormat::kProtobuf) {
      durations.native = std::make_unique<NativeCounts>(recorder->DurationCounts());
    }
    for (size_t i = 0; i < kStages; ++i) {
      AddHistogram(stages, WithLabel(labels, "stage", kStageNames[i]), counts.stages[i],
                   kNanosPerSecond);
    }
    AddHistogram(batch_rows, labels, counts.batch_rows, 1);
    AddValue(rows, labels, static_cast<double>(counts.rows));
    int64_t runs = 0;
    for (const int64_t count : counts.batch_rows.buckets) runs += count;
    AddValue(executions, labels, static_cast<double>(runs));
  }
  for (MetricFamily* family : {&requests, &duration, &stages, &batch_rows, &rows, &executions}) {
    families.push_back(std::move(*family));
  }
}

void AddStates(const std::vector<ModelSeries>& models, std::vector<MetricFamily>& families) {
  MetricFamily queue =
      Family("bitmill_queue_depth", FamilyType::kGauge, "Requests that wait for an execution.");
  MetricFamily in_flight =
      Family("bitmill_in_flight", FamilyType::kGauge, "Requests accepted and not yet answered.");
  MetricFamily ready =
      Family("bitmill_model_ready", FamilyType::kGauge, "1 while the version is served.");
  MetricFamily weights =
      Family("bitmill_model_weight_bytes", FamilyType::kGauge, "Packed weights held in memory.");
  MetricFamily loads =
      Family("bitmill_model_load_seconds", FamilyType::kGauge,
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
  for (MetricFamily* family : {&queue, &in_flight, &ready, &weights, &loads}) {
    if (!family->samples.empty()) families.push_back(std::move(*family));
  }
}

}  // namespace

MetricLabels WithLabel(const MetricLabels& labels, const char* name, std::string value) {
  MetricLabels more = labels;
  more.emplace_back(name, std::move(value));
  return more;
}

void AddModelFamilies(const std::vector<ModelSeries>& models, MetricsFormat format,
                      std::vector<MetricFamily>& families) {
  if (models.empty()) return;
  AddCounted(models, format, families);
  AddStates(models, families);
}

}  // namespace bitmill
