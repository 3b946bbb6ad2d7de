#include "backends/batch_router.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace bitmill {
namespace {

// A microsecond that became 16 s is still told from one that became less.
constexpr float kLeastDrift = 1.0F / 64, kMostDrift = 16'777'216.0F;

int64_t Times(int64_t ns, float factor) {
  return std::max<int64_t>(1, static_cast<int64_t>(static_cast<float>(ns) * factor));
}

}  // namespace

const char* RouteReasonName(RouteReason reason) {
  switch (reason) {
    case RouteReason::kFastest:
      return "fastest";
    case RouteReason::kDrift:
      return "drift";
    case RouteReason::kQueue:
      return "queue";
    case RouteReason::kProbe:
      return "probe";
    case RouteReason::kEnergy:
      return "energy";
    case RouteReason::kLast:
      break;
  }
  return "last";
}

int64_t BatchesOf(const RouteReport::Backend& backend) {
  return std::accumulate(backend.batches.begin(), backend.batches.end(), int64_t{0});
}

BackendLoads::BackendLoads(const std::vector<int>& lanes) {
  for (const int count : lanes) {
    BITMILL_CHECK(count >= 1);
    loads_.push_back({.lanes = count});
  }
}

int BackendLoads::running(size_t backend) const {
  MutexLock lock(&mutex_);
  return loads_[backend].running;
}

BatchRouter::BatchRouter(std::vector<RouteTable> tables, std::shared_ptr<BackendLoads> loads,
                         const Clock& clock, std::vector<size_t> places)
    : shared_(std::move(loads)), loads_(*shared_), clock_(clock) {
  const MonotonicNanos now = clock.Now();
  MutexLock lock(&loads_.mutex_);
  if (places.empty()) {
    places.resize(tables.size());
    std::iota(places.begin(), places.end(), size_t{0});
  }
  BITMILL_CHECK(!tables.empty() && tables.size() <= kMostBackends &&
                tables.size() == places.size());
  for (size_t i = 0; i < tables.size(); ++i) {
    BITMILL_CHECK(places[i] < loads_.loads_.size());
    routes_.push_back({.table = std::move(tables[i]), .place = places[i], .seen_ns = now});
  }
}

BatchRouter::Forecast BatchRouter::Look(size_t backend, int64_t rows, MonotonicNanos now) const {
  const State& state = routes_[backend];
  const BackendLoads::Load& load = LoadOf(backend);
  Forecast forecast;
  forecast.table_ns = state.table.NsFor(rows);
  forecast.run_ns = Times(forecast.table_ns, state.drift);
  forecast.finish_ns = forecast.run_ns;
  if (load.running < load.lanes) return forecast;
  const int64_t since = std::max<int64_t>(0, now - load.head_ns);
  const int64_t expected = load.first->run_ns;
  const int64_t done = std::min(load.work_ns, std::min(since, expected) * load.lanes);
  forecast.wait_ns = (load.work_ns - done) / load.lanes;
  forecast.finish_ns += forecast.wait_ns;
  if (since > expected) {
    forecast.finish_ns =
        Times(forecast.finish_ns, static_cast<float>(since) / static_cast<float>(expected));
  }
  return forecast;
}

size_t BatchRouter::Least(const Forecasts& forecasts, int64_t Forecast::*value) const {
  size_t least = 0;  // the CPU never fails
  for (size_t i = 1; i < routes_.size(); ++i) {
    if (!routes_[i].failed && forecasts[i].*value < forecasts[least].*value) least = i;
  }
  return least;
}

size_t BatchRouter::LeastEnergy(const Forecasts& forecasts, size_t best) const {
  if (watts_[0] <= 0) return best;
  const std::array<float, kMostBackends> watts = watts_;
  const auto joules = [&](size_t i) { return watts[i] * static_cast<float>(forecasts[i].run_ns); };
  const int64_t in_time = forecasts[best].finish_ns * kEnergyPatience;
  size_t least = best;
  for (size_t i = 0; i < routes_.size(); ++i) {
    if (routes_[i].failed || forecasts[i].finish_ns > in_time) continue;
    if (joules(i) < joules(least)) least = i;
  }
  return least;
}

void BatchRouter::PreferEnergy(const std::array<float, kMostBackends>& watts) {
  MutexLock lock(&loads_.mutex_);
  watts_ = watts;
  for (size_t i = 0; i < routes_.size(); ++i) {
    if (!(watts[i] > 0)) watts_ = {};
  }
}

RouteReason BatchRouter::ReasonFor(size_t chosen, const Forecasts& forecasts) const {
  size_t left = 0;
  for (const State& state : routes_) left += state.failed ? 0 : 1;
  if (left == 1 && routes_.size() > 1) return RouteReason::kLast;
  if (chosen == Least(forecasts, &Forecast::table_ns)) return RouteReason::kFastest;
  return chosen == Least(forecasts, &Forecast::run_ns) ? RouteReason::kDrift : RouteReason::kQueue;
}

std::optional<size_t> BatchRouter::DueProbe(size_t best, const Forecasts& forecasts,
                                            MonotonicNanos now) const {
  for (size_t i = 0; i < routes_.size(); ++i) {
    const State& state = routes_[i];
    if (i == best || state.failed || state.elsewhere < kProbeBatches) continue;
    if (LoadOf(i).running >= LoadOf(i).lanes) continue;  // it will tell
    const Forecast& there = forecasts[i];
    const int64_t hoped = std::min(there.run_ns, there.table_ns) / 2;
    if (hoped >= forecasts[best].finish_ns) continue;
    const int64_t detour = std::max<int64_t>(0, there.finish_ns - forecasts[best].finish_ns);
    if (now - state.seen_ns >= std::max(kProbeNanos, kProbeCost * detour)) return i;
  }
  return std::nullopt;
}

std::pair<size_t, RouteReason> BatchRouter::Choose(const Forecasts& forecasts) const {
  const size_t best = Least(forecasts, &Forecast::finish_ns);
  const size_t saving = LeastEnergy(forecasts, best);
  if (saving != best) return {saving, RouteReason::kEnergy};
  return {best, ReasonFor(best, forecasts)};
}

void BatchRouter::Enter(RoutedBatch& batch) {
  BackendLoads::Load& load = LoadOf(batch.backend);
  batch.before = load.last;
  batch.after = nullptr;
  (load.last == nullptr ? load.first : load.last->after) = &batch;
  load.last = &batch;
  if (load.first == &batch) load.head_ns = batch.start_ns;
  ++load.running;
  load.work_ns += batch.run_ns;
}

void BatchRouter::Leave(const RoutedBatch& batch, MonotonicNanos now) {
  BackendLoads::Load& load = LoadOf(batch.backend);
  if (load.first == &batch && batch.after != nullptr) {
    load.head_ns = load.lanes == 1 ? now : batch.after->start_ns;
  }
  (batch.before == nullptr ? load.first : batch.before->after) = batch.after;
  (batch.after == nullptr ? load.last : batch.after->before) = batch.before;
  --load.running;
  load.work_ns -= batch.run_ns;
}

void BatchRouter::Route(int64_t rows, RoutedBatch& batch) {
  batch.start_ns = clock_.Now();
  Forecasts forecasts;
  MutexLock lock(&loads_.mutex_);
  for (size_t i = 0; i < routes_.size(); ++i) forecasts[i] = Look(i, rows, batch.start_ns);
  std::tie(batch.backend, batch.reason) = Choose(forecasts);
  if (const std::optional<size_t> probe = DueProbe(batch.backend, forecasts, batch.start_ns)) {
    batch.backend = *probe;
    batch.reason = RouteReason::kProbe;
    routes_[*probe].seen_ns = batch.start_ns;
  }
  for (State& state : routes_) ++state.elsewhere;
  State& chosen = routes_[batch.backend];
  chosen.elsewhere = 0;
  ++chosen.batches[static_cast<size_t>(batch.reason)];
  const Forecast& forecast = forecasts[batch.backend];
  batch.run_ns = forecast.run_ns;
  batch.finish_ns = forecast.wait_ns + forecast.run_ns;
  batch.drift = chosen.drift;
  Enter(batch);
}

void BatchRouter::Finish(RoutedBatch& batch) {
  const MonotonicNanos now = clock_.Now();
  const auto took = static_cast<float>(std::max<MonotonicNanos>(1, now - batch.start_ns));
  const float seen =
      std::clamp(batch.drift * took / static_cast<float>(batch.finish_ns), kLeastDrift, kMostDrift);
  MutexLock lock(&loads_.mutex_);
  Leave(batch, now);
  State& state = routes_[batch.backend];
  // A batch moves the mean of the logarithms by a quarter of the way; what was known before a probe
  // is too old to count at all.
  const bool probe = batch.reason == RouteReason::kProbe;
  state.drift = probe ? seen : state.drift * std::sqrt(std::sqrt(seen / state.drift));
  state.seen_ns = now;
}

void BatchRouter::Drop(RoutedBatch& batch) {
  const MonotonicNanos now = clock_.Now();
  MutexLock lock(&loads_.mutex_);
  Leave(batch, now);
}

bool BatchRouter::Fail(RoutedBatch& batch) {
  BITMILL_CHECK(batch.backend != 0);
  const MonotonicNanos now = clock_.Now();
  MutexLock lock(&loads_.mutex_);
  Leave(batch, now);
  return !std::exchange(routes_[batch.backend].failed, true);
}

RouteReport BatchRouter::Report() const {
  RouteReport report;
  const MonotonicNanos now = clock_.Now();
  MutexLock lock(&loads_.mutex_);
  for (const State& state : routes_) {
    report.backends.push_back({.table = state.table,
                               .drift = state.drift,
                               .failed = state.failed,
                               .batches = state.batches,
                               .run_ns = {}});
  }
  for (const int64_t rows : routes_.front().table.rows) {
    Forecasts forecasts;
    for (size_t i = 0; i < routes_.size(); ++i) {
      forecasts[i] = Look(i, rows, now);
      report.backends[i].run_ns.push_back(forecasts[i].run_ns);
      report.backends[i].wait_ns = forecasts[i].wait_ns;
    }
    const auto [backend, reason] = Choose(forecasts);
    report.choices.push_back({rows, backend, reason});
  }
  return report;
}

}  // namespace bitmill
