#include "server/analysis/window_collector.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"

namespace bitmill {
namespace {

// Keeps each k-th, so that at most `most` are left; returns k.
template <typename Record>
double ThinOut(std::vector<Record>& records, size_t most) {
  if (records.size() <= most || most == 0) return 1;
  const size_t step = (records.size() + most - 1) / most;
  size_t kept = 0;
  for (size_t i = 0; i < records.size(); i += step) records[kept++] = records[i];
  const double weight = static_cast<double>(records.size()) / static_cast<double>(kept);
  records.resize(kept);
  return weight;
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

void WindowCollector::Collect() {
  log_.Drain([this](const RequestRecord& record) { Take(record); },
             [this](const ExecutionRecord& record) { Take(record); },
             [this](const TurnRecord& record) { Take(record); });
}

void WindowCollector::Take(const RequestRecord& record) {
  const auto found = models_.find(record.model);
  if (found == models_.end()) return;
  Slice& slice = found->second.open;
  const auto code = static_cast<absl::StatusCode>(record.code);
  if (code == absl::StatusCode::kOk) {
    ++slice.answered;
    slice.rows += record.rows;
  } else if (code == absl::StatusCode::kResourceExhausted) {
    ++slice.refused;
  } else if (code == absl::StatusCode::kDeadlineExceeded) {
    ++slice.expired;
  } else {
    ++slice.failed;
  }
  slice.finished_rows += record.rows;
  slice.requests.push_back(record);
}

void WindowCollector::Take(const ExecutionRecord& record) {
  const auto found = models_.find(record.model);
  if (found == models_.end()) return;
  ++found->second.open.executions;
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
  for (const Slice& slice : model.slices) {
    window.answered += slice.answered;
    window.refused += slice.refused;
    window.expired += slice.expired;
    window.failed += slice.failed;
    window.rows += slice.rows;
    window.executions += slice.executions;
    window.requests.insert(window.requests.end(), slice.requests.begin(), slice.requests.end());
    window.executions_seen.insert(window.executions_seen.end(), slice.executed.begin(),
                                  slice.executed.end());
    window.turns.insert(window.turns.end(), slice.turns.begin(), slice.turns.end());
  }
  // What came in is what went out, and what is there now instead of before.
  const auto arrived = [](int64_t finished, const Slice& from, const Slice& to) {
    return std::max<int64_t>(finished + to.end.count - from.begin.count, 0);
  };
  const int64_t finished = window.answered + window.refused + window.expired + window.failed;
  window.arrived = arrived(finished, first, last);
  window.mean_in_system = InSystem::Mean(first.begin, last.end);
  window.queue_depth = model.metrics->queue_depth.load(std::memory_order_relaxed);
  window.tick_begin_ns = last.begin_ns;
  window.tick_arrived = arrived(last.finished(), last, last);
  window.tick_answered = last.answered;
  window.tick_refused = last.refused;
  const double rows_each = last.finished() > 0 ? static_cast<double>(last.finished_rows) /
                                                     static_cast<double>(last.finished())
                                               : 1.0;
  window.tick_arrived_rows = std::llround(static_cast<double>(window.tick_arrived) * rows_each);
  std::ranges::sort(window.requests, {}, &RequestRecord::received_ns);
  std::ranges::sort(window.executions_seen, {}, &ExecutionRecord::start_ns);
  std::ranges::sort(window.turns, {}, &TurnRecord::end_ns);
  window.request_weight = ThinOut(window.requests, options_.max_records);
  window.execution_weight = ThinOut(window.executions_seen, options_.max_records);
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
