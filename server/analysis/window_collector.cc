#include "server/analysis/window_collector.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"

namespace bitmill {
namespace {

// Of one CPU between two drains; a quarter of what the log holds (RequestLog).
constexpr int64_t kManyRecords = 1024;

// Keeps each k-th, so that at most `most` are left.
template <typename Record>
void ThinOut(std::vector<Record>& records, size_t most) {
  if (records.size() <= most || most == 0) return;
  const size_t step = (records.size() + most - 1) / most;
  size_t kept = 0;
  for (size_t i = 0; i < records.size(); i += step) records[kept++] = records[i];
  records.resize(kept);
}

// What each of those that are kept stands for.
double Weight(double all, size_t kept) { return kept > 0 ? all / static_cast<double>(kept) : 1; }

// Each record that was taken stands for so many, since others found no room.
double StandsFor(int64_t taken, int64_t dropped_before, int64_t dropped) {
  if (taken <= 0) return 1;
  return 1 + static_cast<double>(dropped - dropped_before) / static_cast<double>(taken);
}

}  // namespace

WindowCollector::WindowCollector(const CollectorOptions& options, RequestLog& log,
                                 const Clock& clock)
    : options_(options), log_(log), clock_(clock) {}

void WindowCollector::Add(uint32_t id, const ModelMetrics& metrics) {
  Collect();
  Model& model = models_[id];
  model = {};
  model.metrics = &metrics;
  model.open.begin = metrics.in_system.Read(clock_);
  model.open.begin_ns = model.open.begin.at_ns;
}

void WindowCollector::Remove(uint32_t id) { models_.erase(id); }

void WindowCollector::Counts::Add(const Counts& of, double requests, double executions_each) {
  answered += requests * of.answered;
  refused += requests * of.refused;
  expired += requests * of.expired;
  failed += requests * of.failed;
  rows += requests * of.rows;
  finished_rows += requests * of.finished_rows;
  executions += executions_each * of.executions;
}

void WindowCollector::Collect() {
  taken_ = taken_executions_ = 0;
  log_.Drain([this](const RequestRecord& record) { Take(record); },
             [this](const ExecutionRecord& record) { Take(record); },
             [this](const TurnRecord& record) { Take(record); });
  const int64_t dropped = log_.dropped_requests(), executions = log_.dropped_executions();
  const double each = StandsFor(taken_, std::exchange(dropped_, dropped), dropped);
  const double each_execution =
      StandsFor(taken_executions_, std::exchange(dropped_executions_, executions), executions);
  for (auto& [id, model] : models_) {
    model.open.counts.Add(std::exchange(model.taken, {}), each, each_execution);
  }
  hurry_ = std::max(taken_, taken_executions_) > kManyRecords;
}

void WindowCollector::Take(const RequestRecord& record) {
  ++taken_;
  const auto found = models_.find(record.model);
  if (found == models_.end()) return;
  Counts& counts = found->second.taken;
  const auto code = static_cast<absl::StatusCode>(record.code);
  if (code == absl::StatusCode::kOk) {
    ++counts.answered;
    counts.rows += record.rows;
  } else if (code == absl::StatusCode::kResourceExhausted) {
    ++counts.refused;
  } else if (code == absl::StatusCode::kDeadlineExceeded) {
    ++counts.expired;
  } else {
    ++counts.failed;
  }
  counts.finished_rows += record.rows;
  found->second.open.requests.push_back(record);
}

void WindowCollector::Take(const ExecutionRecord& record) {
  ++taken_executions_;
  const auto found = models_.find(record.model);
  if (found == models_.end()) return;
  ++found->second.taken.executions;
  found->second.open.executed.push_back(record);
}

void WindowCollector::Take(const TurnRecord& record) {
  const auto found = models_.find(record.model);
  if (found != models_.end()) found->second.open.turns.push_back(record);
}

ModelWindow WindowCollector::WindowOf(Model& model) const {
  ModelWindow window;
  const Slice& first = model.slices.front();
  const Slice& last = model.slices.back();
  window.begin_ns = first.begin_ns;
  window.end_ns = last.end_ns;
  Counts counts;
  for (const Slice& slice : model.slices) {
    counts.Add(slice.counts, 1, 1);
    window.requests.insert(window.requests.end(), slice.requests.begin(), slice.requests.end());
    window.executions_seen.insert(window.executions_seen.end(), slice.executed.begin(),
                                  slice.executed.end());
    window.turns.insert(window.turns.end(), slice.turns.begin(), slice.turns.end());
  }
  window.answered = std::llround(counts.answered);
  window.refused = std::llround(counts.refused);
  window.expired = std::llround(counts.expired);
  window.failed = std::llround(counts.failed);
  window.rows = std::llround(counts.rows);
  window.executions = std::llround(counts.executions);
  // What came in is what went out, and what is there now instead of before.
  const auto arrived = [](double finished, const Slice& from, const Slice& to) {
    return std::max<int64_t>(std::llround(finished) + to.end.count - from.begin.count, 0);
  };
  window.arrived = arrived(counts.finished(), first, last);
  window.mean_in_system = InSystem::Mean(first.begin, last.end);
  window.queue_depth = model.metrics->queue_depth.load(std::memory_order_relaxed);
  window.tick_begin_ns = last.begin_ns;
  window.tick_arrived = arrived(last.counts.finished(), last, last);
  window.tick_answered = std::llround(last.counts.answered);
  window.tick_refused = std::llround(last.counts.refused);
  const double rows_each =
      last.counts.finished() > 0 ? last.counts.finished_rows / last.counts.finished() : 1.0;
  window.tick_arrived_rows = std::llround(static_cast<double>(window.tick_arrived) * rows_each);
  std::ranges::sort(window.requests, {}, &RequestRecord::received_ns);
  std::ranges::sort(window.executions_seen, {}, &ExecutionRecord::start_ns);
  std::ranges::sort(window.turns, {}, &TurnRecord::end_ns);
  ThinOut(window.requests, options_.max_records);
  ThinOut(window.executions_seen, options_.max_records);
  window.request_weight = Weight(counts.finished(), window.requests.size());
  window.execution_weight = Weight(counts.executions, window.executions_seen.size());
  ThinOut(window.turns, options_.max_records);
  return window;
}

std::map<uint32_t, ModelWindow> WindowCollector::Tick() {
  Collect();
  std::map<uint32_t, ModelWindow> windows;
  for (auto& [id, model] : models_) {
    model.open.end = model.metrics->in_system.Read(clock_);
    model.open.end_ns = model.open.end.at_ns;
    Slice next{.begin_ns = model.open.end_ns, .begin = model.open.end};
    model.slices.push_back(std::exchange(model.open, std::move(next)));
    while (model.slices.size() > 1 &&
           model.slices.back().end_ns - model.slices[1].begin_ns >= options_.window_ns) {
      model.slices.pop_front();
    }
    windows[id] = WindowOf(model);
  }
  return windows;
}

}  // namespace bitmill
