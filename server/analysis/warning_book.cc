#include "server/analysis/warning_book.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bitmill {
namespace {

constexpr int kForecastTicks = 3;  // in a row, before a forecast is told
constexpr int kMeasuredTicks = 2;
constexpr int kQuickClear = 3, kSlowClear = 10;
constexpr double kSameRows = 0.25;  // relative distance of batch sizes that are alike
constexpr double kWhileSlower = 5;  // times normal_seconds, while it is told that it is slower

double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

// "about 33 s (24 to 60)"
std::string Until(const Forecast& forecast) {
  if (forecast.seconds_to_saturation < 0) return "not within an hour";
  std::string text = absl::StrFormat("in about %.0f s", forecast.seconds_to_saturation);
  if (forecast.seconds_to_saturation_low >= 0) {
    absl::StrAppendFormat(&text, " (90 %%: %.0f s to ", forecast.seconds_to_saturation_low);
    if (forecast.seconds_to_saturation_high >= 0) {
      absl::StrAppendFormat(&text, "%.0f s)", forecast.seconds_to_saturation_high);
    } else {
      absl::StrAppend(&text, "more than an hour)");
    }
  }
  return text;
}

std::string CapacityText(const ModelReport& model) {
  std::string text =
      absl::StrFormat("the capacity of %.0f rows/s", model.forecast.capacity_rows_per_s);
  if (model.objective.p99_ms > 0) {
    absl::StrAppendFormat(&text, " within p99 %.3g ms", model.objective.p99_ms);
  }
  return text;
}

std::string MoreCapacity(const ModelReport& model) {
  return absl::StrFormat(
      "add a replica, or raise max_batch_size (%d) or the instances (%d) where CPUs are idle",
      model.controls.max_rows, model.controls.instances);
}

}  // namespace

WarningChanges WarningBook::Update(const AnalysisReport& report) {
  WarningChanges changes;
  ++tick_;
  const double seconds =
      last_unix_ms_ > 0
          ? std::clamp(static_cast<double>(report.unix_millis - last_unix_ms_) / 1e3, 0.0, 10.0)
          : 1.0;
  last_unix_ms_ = report.unix_millis;
  for (Condition& condition : HostConditions(report.host)) {
    Judge("", 0, std::move(condition), report, &changes);
  }
  for (const ModelReport& model : report.models) {
    for (Condition& condition : ModelConditions(model, seconds)) {
      Judge(model.facts.name, model.facts.version, std::move(condition), report, &changes);
    }
  }
  for (const auto& [key, said] : said_) {
    const auto& [model, version, reason] = key;
    const bool there =
        model.empty() || std::any_of(report.models.begin(), report.models.end(),
                                     [&m = model, v = version](const ModelReport& r) {
                                       return r.facts.name == m && r.facts.version == v;
                                     });
    if (!there) continue;
    Judge(model, version,
          {.reason = reason,
           .bad = said.holds,
           .good = !said.holds,
           .clear_ticks = 1,
           .message = said.message},
          report, &changes);
  }
  Forget(report.unix_millis, &changes);
  return changes;
}

void WarningBook::Judge(const std::string& model, int64_t version, Condition condition,
                        const AnalysisReport& report, WarningChanges* changes) {
  State& state = states_[{model, version, condition.reason}];
  state.seen_tick = tick_;
  state.bad_ticks = condition.bad ? state.bad_ticks + 1 : 0;
  state.good_ticks = condition.good ? state.good_ticks + 1 : 0;
  if (!state.holds && state.bad_ticks >= condition.raise_ticks) {
    state.holds = true;
    state.warning = {.id = next_id_++,
                     .reason = condition.reason,
                     .model = model,
                     .version = version,
                     .raised_unix_ms = report.unix_millis,
                     .message = std::move(condition.message)};
    changes->raised.push_back(state.warning);
  } else if (state.holds && state.good_ticks >= condition.clear_ticks) {
    Clear(state, report.unix_millis, changes);
  } else if (state.holds && condition.bad) {
    state.warning.message = std::move(condition.message);
  }
}

void WarningBook::Clear(State& state, int64_t unix_ms, WarningChanges* changes) {
  state.holds = false;
  state.good_ticks = state.bad_ticks = 0;
  state.warning.cleared_unix_ms = unix_ms;
  changes->cleared.push_back(state.warning);
  cleared_.push_back(state.warning);
  while (cleared_.size() > options_.history) cleared_.pop_front();
}

// Drops what belongs to versions that are gone.
void WarningBook::Forget(int64_t unix_ms, WarningChanges* changes) {
  for (auto at = states_.begin(); at != states_.end();) {
    if (at->second.seen_tick == tick_) {
      ++at;
      continue;
    }
    if (at->second.holds) Clear(at->second, unix_ms, changes);
    said_.erase(at->first);
    at = states_.erase(at);
  }
  std::erase_if(normal_, [this](const auto& entry) { return entry.second.seen_tick != tick_; });
}

void WarningBook::Set(WarningReason reason, absl::string_view model, int64_t version, bool holds,
                      std::string message) {
  said_[{std::string(model), version, reason}] = {.holds = holds, .message = std::move(message)};
}

std::vector<Warning> WarningBook::Holding() const { return Recent(0, -1); }

std::vector<Warning> WarningBook::Recent(int64_t now_unix_ms, double max_age_seconds) const {
  std::vector<Warning> warnings;
  for (const Warning& warning : cleared_) {
    const double age = static_cast<double>(now_unix_ms - warning.cleared_unix_ms) / 1e3;
    if (max_age_seconds >= 0 && age <= max_age_seconds) warnings.push_back(warning);
  }
  for (const auto& [key, state] : states_) {
    if (state.holds) warnings.push_back(state.warning);
  }
  std::sort(warnings.begin(), warnings.end(),
            [](const Warning& one, const Warning& other) { return one.id < other.id; });
  return warnings;
}

std::vector<WarningBook::Condition> WarningBook::HostConditions(const HostWindow& host) const {
  const double throttled = std::max(host.throttled_share, host.throttled_periods_share);
  const double memory = Share(static_cast<double>(host.memory_used_bytes),
                              static_cast<double>(host.memory_limit_bytes));
  const MemoryStall stall = MemoryStallOf(host);
  const double descriptors =
      Share(static_cast<double>(host.open_fds), static_cast<double>(host.max_fds));
  constexpr double kMib = 1024.0 * 1024.0;
  return {
      {.reason = WarningReason::kCpuThrottled,
       .bad = throttled > options_.throttled_raise,
       .good = throttled < options_.throttled_clear,
       .raise_ticks = kMeasuredTicks,
       .clear_ticks = kSlowClear,
       .message = absl::StrFormat(
           "the CPU quota of %.2f cores holds the server back %.0f %% of the time; raise the "
           "limit, or start the server with fewer threads",
           host.cpu_budget_cores, 100 * throttled)},
      {.reason = WarningReason::kMemoryPressure,
       .bad = memory > options_.memory_raise || stall.share > options_.memory_stall_raise ||
              host.memory_limit_hits_per_s > 0,
       .good = memory < options_.memory_clear && stall.share < options_.memory_stall_clear &&
               host.memory_limit_hits_per_s <= 0,
       .raise_ticks = kMeasuredTicks,
       .clear_ticks = kSlowClear,
       .message =
           absl::StrFormat("memory: %.0f MiB used of a limit of %.0f MiB, %.0f %% of the time "
                           "something of %s waits "
                           "for memory, %.0f major faults/s; raise the limit or unload models",
                           static_cast<double>(host.memory_used_bytes) / kMib,
                           static_cast<double>(host.memory_limit_bytes) / kMib,
                           100 * std::max(stall.share, 0.0), stall.of, host.major_faults_per_s)},
      {.reason = WarningReason::kDescriptorsLow,
       .bad = descriptors > options_.descriptors_raise,
       .good = descriptors < options_.descriptors_clear,
       .raise_ticks = kMeasuredTicks,
       .clear_ticks = kSlowClear,
       .message = absl::StrFormat(
           "%d of %d file descriptors are open; raise the limit (ulimit -n) or find the clients "
           "that do not close their connections",
           host.open_fds, host.max_fds)},
  };
}

std::vector<WarningBook::Condition> WarningBook::ModelConditions(const ModelReport& model,
                                                                 double seconds) {
  return {SaturationAhead(model), Overloaded(model), ObjectiveAtRisk(model),
          CapacityLost(model, seconds), ServiceDrift(model)};
}

WarningBook::Condition WarningBook::SaturationAhead(const ModelReport& model) const {
  const Forecast& forecast = model.forecast;
  const bool known =
      model.line.samples >= options_.least_samples && forecast.capacity_rows_per_s > 0;
  const double share = Share(forecast.demand_ahead_rows_per_s, forecast.capacity_rows_per_s);
  return {
      .reason = WarningReason::kSaturationAhead,
      .bad = known && share > options_.ahead_raise,
      .good = !known || share < options_.ahead_clear,
      .raise_ticks = kForecastTicks,
      .clear_ticks = kQuickClear,
      .message = absl::StrFormat(
          "%.0f rows/s arrive, %+.1f more each second: %.0f rows/s in %.0f s (90 %%: %.0f to "
          "%.0f), against %s; full %s; %s",
          forecast.demand_rows_per_s, forecast.demand_trend_rows_per_s2,
          forecast.demand_ahead_rows_per_s, forecast.horizon_seconds, forecast.demand_ahead_low,
          forecast.demand_ahead_high, CapacityText(model), Until(forecast), MoreCapacity(model))};
}

WarningBook::Condition WarningBook::Overloaded(const ModelReport& model) const {
  const Forecast& forecast = model.forecast;
  const bool known =
      model.line.samples >= options_.least_samples && forecast.capacity_rows_per_s > 0;
  const double share = Share(forecast.demand_rows_per_s, forecast.capacity_rows_per_s);
  return {.reason = WarningReason::kOverloaded,
          .bad = known && share > options_.now_raise,
          .good = !known || share < options_.now_clear,
          .clear_ticks = kQuickClear,
          .message = absl::StrFormat("%.0f rows/s arrive, %.0f %% of %s; %d requests wait; %s",
                                     forecast.demand_rows_per_s, 100 * share, CapacityText(model),
                                     model.queue_depth, MoreCapacity(model))};
}

WarningBook::Condition WarningBook::ObjectiveAtRisk(const ModelReport& model) const {
  const double objective = model.objective.p99_ms;
  const double predicted =
      model.line.samples >= options_.least_samples ? model.forecast.predicted_p99_ms : 0;
  const double worst = std::max(predicted, model.latency.p99_ms);
  return {.reason = WarningReason::kObjectiveAtRisk,
          .bad = objective > 0 && worst > options_.p99_raise * objective,
          .good = objective <= 0 || worst < options_.p99_clear * objective,
          .raise_ticks = kForecastTicks,
          .message = absl::StrFormat(
              "p99 is %.3g ms and predicted to be %.3g ms at %.0f rows/s, against an objective of "
              "%.3g ms; see the bottleneck in the report, or %s",
              model.latency.p99_ms, predicted, model.forecast.demand_rows_per_s, objective,
              MoreCapacity(model))};
}

// Compares the time of an execution of the size that is usual now with what it was before.
WarningBook::Condition WarningBook::CapacityLost(const ModelReport& model, double seconds) {
  Condition condition{.reason = WarningReason::kCapacityLost, .good = true};
  Normal& normal = normal_[{model.facts.name, model.facts.version}];
  normal.seen_tick = tick_;
  if (model.line.samples < options_.least_samples) return condition;
  const ServiceLine& line = model.line;
  const double rows = std::max(model.mean_batch_rows, 1.0);
  const double now_ms = line.a_ms + line.b_ms * rows;
  // Lines can be compared at a size that both know. One that was learned from batches of one size
  // is learned again when more is known.
  const bool comparable = normal.line.split_known && line.split_known;
  const bool same_size = std::abs(rows / normal.rows - 1) < kSameRows;
  if (normal.line.samples == 0 || (!comparable && (line.split_known || !same_size))) {
    normal.line = line;
    normal.rows = rows;
  }
  const double before_ms = normal.line.a_ms + normal.line.b_ms * rows;
  const double slower = Share(now_ms, before_ms);
  condition.bad = slower > options_.slower_raise;
  condition.good = slower < options_.slower_clear;
  condition.raise_ticks = kForecastTicks;
  condition.message = absl::StrFormat(
      "an execution of %.0f rows takes %.3g ms, %.0f %% more than before (%.3g ms), which leaves "
      "%.0f rows/s; look for a CPU quota, other work on the machine or a hot processor",
      rows, now_ms, 100 * (slower - 1), before_ms, model.forecast.capacity_rows_per_s);
  // What is slower for long becomes what is usual.
  const double memory = options_.normal_seconds * (condition.bad ? kWhileSlower : 1);
  const double gain = 1 - std::exp(-seconds / memory);
  normal.line.a_ms += gain * (line.a_ms - normal.line.a_ms);
  normal.line.b_ms += gain * (line.b_ms - normal.line.b_ms);
  return condition;
}

WarningBook::Condition WarningBook::ServiceDrift(const ModelReport& model) const {
  const Forecast& forecast = model.forecast;
  const bool both = forecast.a_drifted && forecast.b_drifted;
  return {.reason = WarningReason::kServiceDrift,
          .bad = forecast.a_drifted || forecast.b_drifted,
          .good = !forecast.a_drifted && !forecast.b_drifted,
          .clear_ticks = 1,
          .message = absl::StrFormat(
              "%s moved; an execution of n rows now takes %.3g + %.3g n ms; %s",
              both ? "the time of an execution and that of a row"
                   : (forecast.a_drifted ? "the fixed time of an execution" : "the time of a row"),
              model.line.a_ms, model.line.b_ms,
              both ? "the machine became slower or faster: a quota, a neighbour, heat"
                   : (forecast.a_drifted ? "look at scheduling and threads"
                                         : "look at memory traffic and clock rate"))};
}

}  // namespace bitmill
