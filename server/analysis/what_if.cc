#include "server/analysis/what_if.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "server/analysis/quantile.h"

namespace bitmill {
namespace {

constexpr uint8_t kOk = 0, kDeadlineExceeded = 4, kResourceExhausted = 8;
constexpr double kLeastBacklog = 2;  // executions that the first request waits for

bool WouldBeQueued(const RequestRecord& record) {
  return record.code == kOk || record.code == kDeadlineExceeded ||
         record.code == kResourceExhausted;
}

MonotonicNanos QueuedAt(const RequestRecord& record) {
  return record.received_ns + record.stages[Stage::kDecode] + record.stages[Stage::kEncode];
}

}  // namespace

WhatIf::WhatIf(const WindowParts& parts) : parts_(parts) {
  CollectArrivals();
  FindBacklog();
  const auto& executions = parts.window.executions_seen;
  of_instance_.resize(static_cast<size_t>(std::max(parts.window.controls.instances, 1)));
  for (size_t i = 0; i < executions.size(); ++i) {
    const auto instance = static_cast<size_t>(std::max(executions[i].instance, 0));
    if (instance < of_instance_.size()) of_instance_[instance].push_back(i);
  }
  as_is_p99_ = P99(AsIs());
}

// A sampled record stands for `request_weight` requests: as many arrive between it and the next.
void WhatIf::CollectArrivals() {
  const auto& records = parts_.window.requests;
  const double weight = std::max(parts_.window.request_weight, 1.0);
  const auto most = std::max<size_t>(static_cast<size_t>(kReplayed / weight), 1);
  const size_t first = records.size() > most ? records.size() - most : 0;
  arrivals_.reserve(std::min(records.size(), most) * static_cast<size_t>(weight + 1));
  size_t next_answered = 0;
  double due = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    const bool answered = records[i].code == kOk;
    const auto index = static_cast<int32_t>(answered ? next_answered++ : 0);
    if (i < first || !WouldBeQueued(records[i])) continue;
    due += weight;
    const double gap_ns =
        i + 1 < records.size()
            ? static_cast<double>(records[i + 1].received_ns - records[i].received_ns) / weight
            : 0;
    int copy = 0;
    while (due >= 1) {
      arrivals_.push_back({.record = static_cast<int32_t>(i),
                           .answered = answered ? index : -1,
                           .arrive_ns = QueuedAt(records[i]) + std::llround(gap_ns * copy)});
      due -= 1;
      ++copy;
    }
  }
  std::stable_sort(arrivals_.begin(), arrivals_.end(),
                   [](const Arrival& x, const Arrival& y) { return x.arrive_ns < y.arrive_ns; });
}

// What waited already: as many requests as were served while the first answered ones waited.
void WhatIf::FindBacklog() {
  constexpr size_t kFirst = 9;
  std::vector<double> waits;
  for (const Arrival& arrival : arrivals_) {
    if (arrival.answered < 0) continue;
    waits.push_back(parts_.requests[static_cast<size_t>(arrival.answered)].queue);
    if (waits.size() == kFirst) break;
  }
  if (waits.empty() || parts_.executions.empty()) return;
  const double wait_ns = TakeQuantile(waits, 0.5);
  const double execution_ns = parts_.sum.wall / static_cast<double>(parts_.executions.size());
  if (execution_ns <= 0 || wait_ns < kLeastBacklog * execution_ns) return;
  const double rows =
      wait_ns / execution_ns * parts_.mean_batch_rows * std::max(parts_.concurrency, 1.0);
  backlog_requests_ = std::min(static_cast<int64_t>(rows / parts_.mean_request_rows),
                               parts_.window.controls.max_queue_requests);
}

Scenario WhatIf::AsIs() const {
  Scenario scenario;
  scenario.scale.reserve(parts_.executions.size());
  scenario.wait_ns.reserve(parts_.executions.size());
  for (const ExecutionParts& execution : parts_.executions) {
    scenario.scale.push_back(execution.scale());
    scenario.wait_ns.push_back(execution.waits());
  }
  scenario.less_ns.assign(parts_.requests.size(), 0);
  scenario.controls = parts_.window.controls;
  scenario.controls.admit_within_ns = 0;  // what was refused is part of the arrivals
  return scenario;
}

Scenario WhatIf::Undisturbed() const {
  Scenario scenario = AsIs();
  std::fill(scenario.scale.begin(), scenario.scale.end(), 1.0);
  std::fill(scenario.wait_ns.begin(), scenario.wait_ns.end(), 0.0);
  for (size_t i = 0; i < scenario.less_ns.size(); ++i)
    scenario.less_ns[i] = parts_.requests[i].held;
  scenario.controls.instances = static_cast<int>(std::max(parts_.usable_instances, 1.0));
  scenario.padded = false;
  return scenario;
}

// Starts only go forward, so that the nearest execution is found by going forward too.
ServiceTime WhatIf::Service(const Scenario& scenario) const {
  const auto& executions = parts_.window.executions_seen;
  std::vector<size_t> cursors(of_instance_.size() + 1, 0);
  return [this, &scenario, &executions, cursors](int64_t rows, MonotonicNanos start_ns,
                                                 int instance) mutable -> int64_t {
    const auto of = static_cast<size_t>(instance);
    const bool own = scenario.by_instance && of < of_instance_.size() && !of_instance_[of].empty();
    const std::vector<size_t>* const list = own ? &of_instance_[of] : nullptr;
    size_t& cursor = cursors[own ? of : cursors.size() - 1];
    const size_t count = own ? list->size() : executions.size();
    const auto start_of = [&](size_t i) { return executions[own ? (*list)[i] : i].start_ns; };
    while (cursor + 1 < count &&
           std::abs(start_of(cursor + 1) - start_ns) <= std::abs(start_of(cursor) - start_ns)) {
      ++cursor;
    }
    if (count == 0) return std::llround(parts_.CleanNanos(static_cast<double>(rows)));
    const size_t i = own ? (*list)[cursor] : cursor;
    const ExecutionRecord& nearest = executions[i];
    const double padding = scenario.padded && nearest.padded_rows > nearest.rows && nearest.rows > 0
                               ? static_cast<double>(nearest.padded_rows) / nearest.rows
                               : 1;
    return std::llround(parts_.CleanNanos(static_cast<double>(rows) * padding) * scenario.scale[i] +
                        scenario.wait_ns[i]);
  };
}

double WhatIf::P99(const Scenario& scenario) const {
  if (arrivals_.empty()) return 0;
  std::vector<ReplayRequest> replayed;
  std::vector<bool> counted;
  const int64_t max_rows = std::max<int64_t>(scenario.controls.max_rows, 1);
  const auto rows_of = [max_rows](double rows) {
    return static_cast<int32_t>(std::clamp<int64_t>(std::llround(rows), 1, max_rows));
  };
  const auto backlog =
      static_cast<size_t>(static_cast<double>(backlog_requests_) * scenario.backlog);
  replayed.assign(backlog,
                  {.arrive_ns = arrivals_[0].arrive_ns, .rows = rows_of(parts_.mean_request_rows)});
  counted.assign(backlog, false);
  replayed.reserve(replayed.size() + arrivals_.size());
  double due = 0;
  for (const Arrival& arrival : arrivals_) {
    due += scenario.arriving;
    if (due < 1) continue;
    due -= 1;
    const RequestRecord& record = parts_.window.requests[static_cast<size_t>(arrival.record)];
    ReplayRequest request{.arrive_ns = arrival.arrive_ns, .rows = rows_of(record.rows)};
    if (arrival.answered >= 0) {
      const RequestParts& of = parts_.requests[static_cast<size_t>(arrival.answered)];
      request.around_ns =
          std::llround(std::max(of.latency - of.queue - of.formation - of.compute -
                                    scenario.less_ns[static_cast<size_t>(arrival.answered)],
                                0.0));
    }
    replayed.push_back(request);
    counted.push_back(arrival.answered >= 0);
  }
  const ReplayResult result = Replay(replayed, scenario.controls, Service(scenario));
  std::vector<int64_t> latencies;
  latencies.reserve(replayed.size());
  for (size_t i = 0; i < replayed.size(); ++i) {
    if (counted[i] && result.requests[i].fate == ReplayFate::kAnswered) {
      latencies.push_back(result.requests[i].latency_ns);
    }
  }
  return static_cast<double>(TakeQuantile(latencies, 0.99));
}

double WhatIf::RecoveredMs(double p99_before, double p99_after) const {
  if (as_is_p99_ <= 0) return 0;
  return std::clamp((p99_before - p99_after) / as_is_p99_, 0.0, 1.0) * parts_.p99 * 1e-6;
}

}  // namespace bitmill
