#include "server/analysis/analysis_metrics.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"

namespace bitmill {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

constexpr double kSeconds = 1e-3;  // a millisecond

Labels LabelsOf(const std::string& model, int64_t version) {
  return {{"model", model}, {"version", absl::StrCat(version)}};
}

// One list a family, so that points of a name stay together.
class Families {
 public:
  void Add(const char* name, const char* help, Labels labels, double value,
           MetricType type = MetricType::kGauge) {
    auto place = points_.find(name);
    const bool first = place == points_.end();
    if (first) place = points_.try_emplace(name).first;
    place->second.push_back({.name = name,
                             .help = first ? help : "",
                             .type = type,
                             .labels = std::move(labels),
                             .value = value});
  }
  std::vector<MetricPoint> Take() {
    std::vector<MetricPoint> all;
    size_t count = 0;
    for (const auto& [name, points] : points_) count += points.size();
    all.reserve(count);
    for (auto& [name, points] : points_) {
      std::move(points.begin(), points.end(), std::back_inserter(all));
    }
    points_.clear();
    return all;
  }

 private:
  std::map<std::string, std::vector<MetricPoint>, std::less<>> points_;
};

Labels With(Labels labels, const char* name, const char* value) {
  labels.emplace_back(name, value);
  return labels;
}

void AddDiagnosis(const ModelReport& model, const Labels& labels, Families& out) {
  const Diagnosis& diagnosis = model.diagnosis;
  out.Add("bitmill_bottleneck_info", "Always 1; cause names the bottleneck, or says healthy.",
          With(labels, "cause", CauseName(diagnosis.cause)), 1);
  out.Add("bitmill_bottleneck_confidence", "How sure the bottleneck is, 0 to 1.", labels,
          diagnosis.confidence);
  for (const Finding& finding : diagnosis.findings) {
    if (finding.cause == Cause::kHealthy) continue;  // costs nothing
    out.Add("bitmill_bottleneck_score_seconds", "How much shorter p99 would be without the cause.",
            With(labels, "cause", CauseName(finding.cause)), finding.recoverable_p99_ms * kSeconds);
  }
}

void AddForecast(const ModelReport& model, const Labels& labels, Families& out) {
  const Forecast& forecast = model.forecast;
  out.Add("bitmill_demand_rows_per_second", "Rows that arrive, smoothed.", labels,
          forecast.demand_rows_per_s);
  out.Add("bitmill_demand_forecast_rows_per_second",
          "Rows that are expected to arrive a horizon of about 30 s ahead.", labels,
          forecast.demand_ahead_rows_per_s);
  if (model.line.samples == 0 || forecast.capacity_rows_per_s <= 0) return;
  if (model.line.split_known) {
    out.Add("bitmill_service_time_fixed_seconds",
            "a of an execution's time a + b rows, fitted: what it takes whatever it holds.", labels,
            model.line.a_ms * kSeconds);
    out.Add("bitmill_service_time_per_row_seconds",
            "b of an execution's time a + b rows, fitted: what each row adds.", labels,
            model.line.b_ms * kSeconds);
  }
  out.Add("bitmill_capacity_rows_per_second",
          "Rows that can be served under the objective, or at saturation where none is stated.",
          labels, forecast.capacity_rows_per_s);
  out.Add("bitmill_headroom_ratio",
          "1 - forecast demand / capacity; negative when more is expected than can be served.",
          labels, forecast.headroom);
  out.Add("bitmill_time_to_saturation_seconds",
          "Time until the demand exceeds the capacity if it goes on like this; +Inf: not within an "
          "hour.",
          labels,
          forecast.seconds_to_saturation < 0 ? std::numeric_limits<double>::infinity()
                                             : forecast.seconds_to_saturation);
  if (forecast.predicted_p99_ms > 0) {
    out.Add("bitmill_predicted_p99_seconds", "p99 by the fitted service time, at the demand now.",
            labels, forecast.predicted_p99_ms * kSeconds);
  }
}

void AddModel(const ModelReport& model, Families& out) {
  const Labels labels = LabelsOf(model.facts.name, model.facts.version);
  AddDiagnosis(model, labels, out);
  AddForecast(model, labels, out);
  out.Add("bitmill_goodput_rows_per_second",
          "Rows answered within the objective, or answered at all where none is stated.", labels,
          model.answered_per_s > 0
              ? model.rows_per_s * std::min(1.0, model.goodput_per_s / model.answered_per_s)
              : 0);
  if (model.objective.p99_ms > 0) {
    out.Add("bitmill_objective_p99_seconds", "What p99 shall be at most.", labels,
            model.objective.p99_ms * kSeconds);
  }
  if (model.share_of_limit >= 0) {
    out.Add("bitmill_share_of_limit",
            "Of the machine's measured limit, arithmetic or memory, that the model reaches, 0 to "
            "1.",
            labels, model.share_of_limit);
  }
  out.Add("bitmill_analysis_stage_sum_error_ratio",
          "By how much the stages of requests do not add up to their durations.", labels,
          model.stage_sum_error);
  out.Add("bitmill_analysis_little_error_ratio",
          "By how much requests in the system differ from rate times latency.", labels,
          model.little_error);
  double stages_ms = 0;
  for (const double ms : model.stage_mean_ms) stages_ms += ms;
  out.Add("bitmill_analysis_unaccounted_seconds",
          "Mean of a request's duration that no stage accounts for.", labels,
          (model.latency.mean_ms - stages_ms) * kSeconds);
}

void AddHost(const Diagnosis& diagnosis, Families& out) {
  out.Add("bitmill_host_bottleneck_info",
          "Always 1; cause names what holds all models up, or says healthy.",
          {{"cause", CauseName(diagnosis.cause)}}, 1);
  for (const Finding& finding : diagnosis.findings) {
    out.Add("bitmill_host_bottleneck_score_seconds",
            "How much shorter p99 of the models would be without the cause.",
            {{"cause", CauseName(finding.cause)}}, finding.recoverable_p99_ms * kSeconds);
  }
}

void AddWarnings(const std::vector<Warning>& warnings, Families& out) {
  for (const Warning& warning : warnings) {
    if (warning.cleared_unix_ms != 0) continue;
    const bool of_host = warning.model.empty();
    out.Add("bitmill_warning_active", "1 while the warning holds; no model: of the host.",
            {{"reason", kWarningReasonNames[static_cast<size_t>(warning.reason)]},
             {"model", warning.model},
             {"version", of_host ? "" : absl::StrCat(warning.version)}},
            1);
  }
}

// Reports carry the newest adaptations only: this counts each one once.
class AdaptationCounter {
 public:
  void Count(const std::vector<Adaptation>& adaptations, Families& out) {
    MutexLock lock(&mutex_);
    for (const Adaptation& adaptation : adaptations) {
      if (adaptation.id <= last_id_) continue;
      last_id_ = adaptation.id;
      ++counts_[{adaptation.model, adaptation.version, adaptation.control, adaptation.applied}];
    }
    for (const auto& [key, count] : counts_) {
      const auto& [model, version, control, applied] = key;
      Labels labels =
          With(LabelsOf(model, version), "control", kControlNames[static_cast<size_t>(control)]);
      if (applied) {
        out.Add("bitmill_adaptations_total", "Settings that were changed toward the objective.",
                std::move(labels), static_cast<double>(count), MetricType::kCounter);
      } else {
        out.Add("bitmill_adaptations_proposed_total",
                "Changes of settings that were proposed and not made.", std::move(labels),
                static_cast<double>(count), MetricType::kCounter);
      }
    }
  }

 private:
  Mutex mutex_;
  int64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::tuple<std::string, int64_t, Control, bool>, int64_t> counts_
      ABSL_GUARDED_BY(mutex_);
};

void AddReport(const AnalysisReport& report, Families& out) {
  for (const ModelReport& model : report.models) AddModel(model, out);
  AddHost(report.host_diagnosis, out);
  AddWarnings(report.warnings, out);
  out.Add("bitmill_analysis_records_dropped_total",
          "Records of requests that the analysis was too slow to read.", {},
          static_cast<double>(report.records_dropped), MetricType::kCounter);
}

}  // namespace

std::vector<MetricPoint> AnalysisMetrics(const AnalysisReport& report) {
  Families out;
  AddReport(report, out);
  return out.Take();
}

std::function<std::vector<MetricPoint>()> AnalysisMetricsOf(const AnalysisSource& source) {
  return [&source, counter = std::make_shared<AdaptationCounter>()] {
    const std::shared_ptr<const AnalysisReport> report = source.Newest();
    Families out;
    AddReport(*report, out);
    counter->Count(report->adaptations, out);
    return out.Take();
  };
}

}  // namespace bitmill
