#include "tools/analysis/fleet.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "server/analysis/latency_histogram.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;

// One model version while the servers are added up.
struct Sum {
  FleetModel model;
  LatencyHistogram latencies;  // a second
  bool histograms_complete = true;
  int answering = 0;              // servers that answered
  double p50_ms = 0, p99_ms = 0;  // of the only one
  double rows_per_s = 0, executions_per_s = 0;
  double busy_instances = 0, instances = 0;
  double capacity = 0, ahead = 0;
  bool capacity_complete = true;
  struct Named {
    int servers = 0;
    double most_ms = 0, of_ms = 0;  // that it costs at one of them, and of what p99
  };
  std::map<int, Named> causes;
};

LatencyHistogram PerSecond(const pb::LatencyHistogram& from, double window_seconds) {
  LatencyHistogram histogram;
  histogram.upper_ms.assign(from.upper_ms().begin(), from.upper_ms().end());
  const double seconds = window_seconds > 0 ? window_seconds : 1;
  for (const double count : from.counts()) histogram.counts.push_back(count / seconds);
  return histogram;
}

void AddLatencies(const pb::ModelReport& report, double window_seconds, Sum& sum) {
  if (!(report.answered_per_s() > 0)) return;
  ++sum.answering;
  sum.p50_ms = report.latency().p50_ms();
  sum.p99_ms = report.latency().p99_ms();
  sum.histograms_complete = sum.histograms_complete && report.latency_histogram().counts_size() > 0;
  MergeInto(sum.latencies, PerSecond(report.latency_histogram(), window_seconds));
}

void AddForecast(const pb::ModelReport& report, Sum& sum) {
  const pb::Forecast& forecast = report.forecast();
  if (forecast.capacity_rows_per_s() > 0) {
    sum.capacity += forecast.capacity_rows_per_s();
    sum.ahead += forecast.demand_ahead_rows_per_s();
    if (!forecast.split_known()) sum.model.headroom_assumed = true;
    const double seconds = forecast.seconds_to_saturation();
    if (seconds >= 0 && !(sum.model.seconds_to_saturation <= seconds)) {
      sum.model.seconds_to_saturation = seconds;
    }
  } else if (report.offered_per_s() > 0) {
    sum.capacity_complete = false;
  }
}

void AddCause(const pb::ModelReport& report, Sum& sum) {
  const pb::Diagnosis& diagnosis = report.diagnosis();
  const pb::Cause cause = report.has_diagnosis() ? diagnosis.cause() : pb::UNKNOWN;
  double cost = 0;
  for (const pb::Finding& finding : diagnosis.findings()) {
    if (finding.cause() == cause) cost = finding.recoverable_p99_ms();
  }
  Sum::Named& named = sum.causes[cause];
  if (++named.servers == 1 || cost > named.most_ms) {
    named.most_ms = cost;
    named.of_ms = diagnosis.p99_ms();
  }
}

void Add(const pb::ModelReport& report, double window_seconds, Sum& sum) {
  FleetModel& model = sum.model;
  model.name = report.name();
  model.version = report.version();
  ++model.servers;
  model.answered_per_s += report.answered_per_s();
  model.goodput_per_s += report.goodput_per_s();
  model.lost_per_s += report.refused_per_s() + report.expired_per_s() + report.failed_per_s();
  model.queue_depth += report.queue_depth();
  const double objective = report.objective_p99_ms();
  if (objective > 0 && (model.objective_p99_ms == 0 || objective < model.objective_p99_ms)) {
    model.objective_p99_ms = objective;
  }
  sum.rows_per_s += report.executions_per_s() * report.mean_batch_rows();
  sum.executions_per_s += report.executions_per_s();
  const double instances = std::max(report.controls().instances(), 1);
  sum.instances += instances;
  sum.busy_instances += instances * report.busy_share();
  AddLatencies(report, window_seconds, sum);
  AddForecast(report, sum);
  AddCause(report, sum);
}

// The cause that costs most; where none costs anything, a named one before unknown before healthy.
void ChooseCause(Sum& sum) {
  const auto rank = [](const auto& entry) {
    const auto& [cause, found] = entry;
    const int named = cause == pb::HEALTHY ? 0 : cause == pb::UNKNOWN ? 1 : 2;
    return std::make_tuple(named == 2 ? found.most_ms : 0.0, named, found.servers);
  };
  const auto worst =
      std::max_element(sum.causes.begin(), sum.causes.end(),
                       [&rank](const auto& a, const auto& b) { return rank(a) < rank(b); });
  sum.model.cause = static_cast<pb::Cause>(worst->first);
  sum.model.cause_servers = worst->second.servers;
  sum.model.recoverable_p99_ms = worst->second.most_ms;
  sum.model.judged_p99_ms = worst->second.of_ms;
}

FleetModel Finish(Sum sum) {
  FleetModel& model = sum.model;
  if (sum.answering == 1) {
    model.p50_ms = sum.p50_ms;
    model.p99_ms = sum.p99_ms;
  } else if (sum.answering > 1 && sum.histograms_complete) {
    model.p50_ms = QuantileMs(sum.latencies, 0.5);
    model.p99_ms = QuantileMs(sum.latencies, 0.99);
  }
  if (sum.executions_per_s > 0) model.mean_batch_rows = sum.rows_per_s / sum.executions_per_s;
  model.busy_share = sum.busy_instances / sum.instances;
  if (sum.capacity > 0 && sum.capacity_complete) model.headroom = 1 - sum.ahead / sum.capacity;
  ChooseCause(sum);
  return std::move(model);
}

}  // namespace

Fleet MergeReports(absl::Span<const TargetReport> targets) {
  Fleet fleet;
  fleet.targets.assign(targets.begin(), targets.end());
  std::map<std::pair<std::string, int64_t>, Sum> sums;
  const bool any_fresh = std::any_of(
      targets.begin(), targets.end(),
      [](const TargetReport& target) { return target.report != nullptr && !target.stale; });
  for (const TargetReport& target : targets) {
    if (target.report == nullptr || (any_fresh && target.stale)) continue;
    for (const pb::ModelReport& model : target.report->models()) {
      Add(model, target.report->window_seconds(), sums[{model.name(), model.version()}]);
    }
    for (const pb::Warning& warning : target.report->warnings()) {
      fleet.warnings.push_back({target.address, warning});
    }
  }
  for (auto& [key, sum] : sums) fleet.models.push_back(Finish(std::move(sum)));
  std::stable_sort(fleet.warnings.begin(), fleet.warnings.end(),
                   [](const FleetWarning& a, const FleetWarning& b) {
                     return a.warning.raised_unix_ms() > b.warning.raised_unix_ms();
                   });
  return fleet;
}

void SortModels(FleetOrder order, std::vector<FleetModel>& models) {
  const auto key = [order](const FleetModel& model) {
    switch (order) {
      case FleetOrder::kName:
        return 0.0;
      case FleetOrder::kRate:
        return -model.answered_per_s;
      case FleetOrder::kP99:
        return -model.p99_ms;
      case FleetOrder::kQueue:
        return -static_cast<double>(model.queue_depth);
      case FleetOrder::kHeadroom:
        return model.headroom;
      case FleetOrder::kCost:
        return -model.recoverable_p99_ms;
    }
    return 0.0;
  };
  const auto whole = [&key](const FleetModel& model) {
    const double value = key(model);
    return std::make_tuple(std::isnan(value), std::isnan(value) ? 0.0 : value, model.name,
                           model.version);
  };
  std::sort(models.begin(), models.end(),
            [&whole](const FleetModel& a, const FleetModel& b) { return whole(a) < whole(b); });
}

}  // namespace bitmill
