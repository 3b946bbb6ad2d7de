#include "server/analysis/analyzer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/this_thread.h"
#include "server/analysis/judge.h"
#include "server/analysis/summarize.h"

namespace bitmill {
namespace {

// Replays for the curves of all models together, of about 100 ns each: 1 % of a CPU.
constexpr double kReplaysPerSecond = 100'000;
constexpr MonotonicNanos kLeastCurvePeriod = 5'000'000'000;
constexpr MonotonicNanos kNewestNanos = 2'000'000'000;  // see HostWindow::newest_cpu_cores

// By QualityAlert.
constexpr std::array<WarningReason, kQualityAlertNames.size()> kQualityReasons = {
    WarningReason::kInputDrift, WarningReason::kPredictionDrift, WarningReason::kAccuracyDrop,
    WarningReason::kInvalidInputs};

std::string Subject(const Warning& warning) {
  if (warning.model.empty()) return "host";
  return absl::StrCat("model='", warning.model, "' version=", warning.version);
}

void LogChanges(const WarningChanges& changes) {
  for (const Warning& warning : changes.raised) {
    LogWarning(
        absl::StrCat("analysis warning=", kWarningReasonNames[static_cast<size_t>(warning.reason)],
                     " ", Subject(warning), ": ", warning.message));
  }
  for (const Warning& warning : changes.cleared) {
    LogInfo(
        absl::StrCat("analysis cleared=", kWarningReasonNames[static_cast<size_t>(warning.reason)],
                     " ", Subject(warning)));
  }
}

HistoryPoint PointOf(const ModelReport& model, const ModelWindow& window, int64_t unix_millis) {
  const double tick_seconds =
      std::max(static_cast<double>(window.end_ns - window.tick_begin_ns) * 1e-9, 1e-3);
  HistoryPoint point{.unix_millis = unix_millis,
                     .offered_per_s = static_cast<double>(window.tick_arrived) / tick_seconds,
                     .answered_per_s = static_cast<double>(window.tick_answered) / tick_seconds,
                     .goodput_per_s = model.goodput_per_s,
                     .p50_ms = model.latency.p50_ms,
                     .p99_ms = model.latency.p99_ms,
                     .queue_depth = static_cast<double>(model.queue_depth),
                     .mean_batch_rows = model.mean_batch_rows,
                     .busy_share = model.busy_share,
                     .demand_rows_per_s = model.forecast.demand_rows_per_s,
                     .demand_ahead_rows_per_s = model.forecast.demand_ahead_rows_per_s,
                     .demand_ahead_low = model.forecast.demand_ahead_low,
                     .demand_ahead_high = model.forecast.demand_ahead_high,
                     .capacity_rows_per_s = model.forecast.capacity_rows_per_s,
                     .cause = model.diagnosis.cause};
  if (!model.diagnosis.findings.empty()) {
    point.cause_score_ms = model.diagnosis.findings.front().recoverable_p99_ms;
  }
  return point;
}

}  // namespace

Analyzer::Analyzer(const AnalyzerOptions& options, RequestLog& log, ServedVersions& served,
                   HostSampler& host, const Clock& clock)
    : options_(options),
      log_(log),
      served_(served),
      host_(host),
      clock_(clock),
      collector_({.window_ns = options.window_ns}, log, clock),
      adapter_(served),
      power_(options.power, served) {
  auto empty = std::make_shared<AnalysisReport>();
  empty->unix_millis = clock.UnixMillis();
  empty->limits = options.limits;
  MutexLock lock(&mutex_);
  newest_ = std::move(empty);
}

Analyzer::~Analyzer() { Stop(); }

void Analyzer::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Analyzer::Stop() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Analyzer::Run() {
  NameThisThread("analysis");
  WorkInBackground();
  MonotonicNanos collect_due = clock_.Now() + options_.collect_ns;
  MonotonicNanos tick_due = clock_.Now() + options_.tick_ns;
  for (;;) {
    {
      MutexLock lock(&mutex_);
      const MonotonicNanos wait = collect_due - clock_.Now();
      if (!stop_ && wait > 0) changed_.WaitFor(&mutex_, wait);
      if (stop_) return;
    }
    const MonotonicNanos now = clock_.Now();
    if (now < collect_due) continue;
    // What was late is not made up for: the next is a full period away.
    Collect();
    collect_due = now + CollectPeriod();
    if (now < tick_due) continue;
    tick_due = std::max(tick_due + options_.tick_ns, now + options_.tick_ns / 2);
    Tick();
  }
}

void Analyzer::Collect() {
  const MonotonicNanos now = clock_.Now();
  if (sampled_ns_ == 0 || now - sampled_ns_ >= options_.collect_ns * 9 / 10) {
    sampled_ns_ = now;
    host_.Sample();
  }
  collector_.Collect();
}

MonotonicNanos Analyzer::CollectPeriod() const {
  return collector_.hurry() ? options_.hurried_collect_ns : options_.collect_ns;
}

void Analyzer::Follow(const std::vector<ObservedModel>& models) {
  std::set<uint32_t> ready;
  for (const ObservedModel& model : models) {
    ready.insert(model.id);
    const auto [found, is_new] = watched_.try_emplace(model.id);
    Watched& watched = found->second;
    if (!is_new && watched.loaded_ns == model.facts.loaded_ns) continue;
    // What another file gave is nothing to predict by. The window stays: how requests fare while
    // a version is loaded again is what a judge wants to see.
    watched.loaded_ns = model.facts.loaded_ns;
    watched.loads.push_back(
        {.begin_ns = model.facts.load_begin_ns, .end_ns = model.facts.loaded_ns});
    watched.predictor = ModelPredictor({.since_ns = model.facts.loaded_ns});
    watched.routes = RecentRoutes();
    if (std::exchange(watched.metrics, model.metrics) != model.metrics) {
      collector_.Add(model.id, *model.metrics);
    }
  }
  for (auto model = watched_.begin(); model != watched_.end();) {
    if (ready.contains(model->first)) {
      ++model;
    } else {
      collector_.Remove(model->first);
      model = watched_.erase(model);
    }
  }
}

std::vector<ModelLoad> Analyzer::LoadsOf(const ModelWindow& window, const HostWindow& host,
                                         Watched& watched) const {
  std::vector<ModelLoad>& loads = watched.loads;
  while (loads.size() > 1 && loads.front().end_ns < window.begin_ns) loads.erase(loads.begin());
  ModelLoad& last = loads.back();
  if (last.warm_ns == 0) {
    last.warm_ns = WarmSince(window, host, options_.limits, watched.predictor.run_line());
  }
  return loads;
}

Observation Analyzer::Observe(std::vector<ObservedModel>& models) {
  Observation observation{.now_ns = clock_.Now(),
                          .unix_millis = clock_.UnixMillis(),
                          .limits = options_.limits,
                          .host = host_.Window(options_.window_ns)};
  observation.host.newest_cpu_cores = host_.Window(kNewestNanos).process_cpu_cores;
  std::map<uint32_t, ModelWindow> windows = collector_.Tick();
  for (ObservedModel& model : models) {
    ModelWindow& window = windows.at(model.id);
    window.facts = std::move(model.facts);
    window.controls = model.controls;
    window.configured = model.configured;
    window.objective = model.objective;
    window.io_threads = options_.io_threads;
    window.loads = LoadsOf(window, observation.host, watched_.at(model.id));
    if (window.seconds() > 0) {
      observation.host.requests_per_s += static_cast<double>(window.answered) / window.seconds();
    }
    observation.models.push_back(std::move(window));
  }
  return observation;
}

ModelReport Analyzer::Report(const ModelWindow& window, const Observation& observation,
                             ModelPredictor& predictor) const {
  // The judge compares this window's runs with what was known of them before it.
  const ServiceLine known = predictor.run_line();
  ModelReport report = Summarize(window, observation.limits);
  report.forecast = predictor.Update(window, observation.host);
  report.line = predictor.line();
  report.diagnosis = JudgeModel(window, observation.host, observation.limits, known);
  return report;
}

MonotonicNanos Analyzer::CurvePeriod() const {
  double replays = 0;
  for (const auto& [id, watched] : watched_) {
    replays += static_cast<double>(watched.predictor.replayed());
  }
  return std::max<MonotonicNanos>(kLeastCurvePeriod,
                                  std::llround(replays / kReplaysPerSecond * 1e9));
}

void Analyzer::Tick() {
  std::vector<ObservedModel> models = served_.Ready();
  Follow(models);
  Observation observation = Observe(models);
  auto report = std::make_shared<AnalysisReport>();
  report->unix_millis = observation.unix_millis;
  report->window_seconds = static_cast<double>(options_.window_ns) * 1e-9;
  report->limits = observation.limits;
  report->host = observation.host;
  report->records_dropped = log_.dropped();
  std::vector<Diagnosis> diagnoses;
  const MonotonicNanos curve_period_ns = CurvePeriod();
  for (size_t i = 0; i < models.size(); ++i) {
    watched_.at(models[i].id).predictor.set_curve_period_ns(curve_period_ns);
    ModelReport& model = report->models.emplace_back(
        Report(observation.models[i], observation, watched_.at(models[i].id).predictor));
    model.operations = std::move(models[i].operations);
    model.routing = std::move(models[i].routing);
    model.division = std::move(models[i].division);
    if (model.routing) watched_.at(models[i].id).routes.Update(*model.routing);
    collector_.Collect();  // the records of a busy server do not wait for a long tick
    diagnoses.push_back(model.diagnosis);
  }
  AddQuality(*report);
  report->host_diagnosis = JudgeHost(observation, diagnoses);
  adapter_.Tick(observation, *report);
  power_.Tick(observation, *report, host_.Newest());
  report->adaptations = adapter_.Adaptations();
  Publish(observation, std::move(report));
}

void Analyzer::AddQuality(AnalysisReport& report) {
  if (options_.quality == nullptr) return;
  std::map<Key, QualityReport> watched;
  for (QualityReport& quality : options_.quality()) {
    watched[{quality.model, quality.version}] = std::move(quality);
  }
  for (ModelReport& model : report.models) {
    const auto found = watched.find({model.facts.name, model.facts.version});
    if (found != watched.end()) model.quality = std::move(found->second);
  }
}

// With the warnings' lock held: says which alerts of the quality watch hold.
void Analyzer::WarnOfQuality(const AnalysisReport& report) {
  for (const ModelReport& model : report.models) {
    if (!model.quality) continue;
    for (size_t i = 0; i < kQualityReasons.size(); ++i) {
      const auto& alerts = model.quality->alerts;
      const auto alert =
          std::ranges::find(alerts, static_cast<QualityAlert>(i), &RaisedAlert::alert);
      warnings_.Set(kQualityReasons[i], model.facts.name, model.facts.version,
                    alert != alerts.end(), alert != alerts.end() ? alert->message : "");
    }
  }
}

void Analyzer::Publish(const Observation& observation, std::shared_ptr<AnalysisReport> report) {
  WarningChanges changes;
  {
    MutexLock lock(&mutex_);
    WarnOfQuality(*report);
    changes = warnings_.Update(*report);
    report->warnings = warnings_.Holding();
    adaptations_ = report->adaptations;
    KeepHistory(observation, *report);
    newest_ = std::move(report);
  }
  LogChanges(changes);
  MutexLock lock(&subscribers_mutex_);
  for (const auto& [id, on_report] : subscribers_) on_report();
}

void Analyzer::KeepHistory(const Observation& observation, const AnalysisReport& report) {
  std::map<Key, Kept> kept;
  for (size_t i = 0; i < report.models.size(); ++i) {
    const ModelWindow& window = observation.models[i];
    const Key key{window.facts.name, window.facts.version};
    Kept& model = kept[key];
    if (const auto before = kept_.find(key); before != kept_.end()) {
      model = std::move(before->second);
    }
    model.history.push_back(PointOf(report.models[i], window, report.unix_millis));
    while (model.history.size() > options_.history) model.history.pop_front();
    model.requests = window.requests;
  }
  kept_ = std::move(kept);
}

std::shared_ptr<const AnalysisReport> Analyzer::Newest() const {
  MutexLock lock(&mutex_);
  return newest_;
}

int64_t Analyzer::Subscribe(std::function<void()> on_report) {
  MutexLock lock(&subscribers_mutex_);
  const int64_t id = next_subscriber_++;
  subscribers_[id] = std::move(on_report);
  return id;
}

void Analyzer::Unsubscribe(int64_t id) {
  MutexLock lock(&subscribers_mutex_);
  subscribers_.erase(id);
}

const Analyzer::Kept* Analyzer::FindKept(absl::string_view model, int64_t version) const {
  const Kept* newest = nullptr;
  for (const auto& [key, kept] : kept_) {  // ascending versions
    if (key.first == model && (version == 0 || key.second == version)) newest = &kept;
  }
  return newest;
}

std::vector<HistoryPoint> Analyzer::History(absl::string_view model, int64_t version,
                                            int seconds) const {
  MutexLock lock(&mutex_);
  const Kept* const kept = FindKept(model, version);
  if (kept == nullptr || kept->history.empty()) return {};
  const int64_t first = kept->history.back().unix_millis - int64_t{1000} * seconds;
  std::vector<HistoryPoint> points;
  for (const HistoryPoint& point : kept->history) {
    if (seconds <= 0 || point.unix_millis > first) points.push_back(point);
  }
  return points;
}

std::vector<RequestRecord> Analyzer::SampledRequests(absl::string_view model, int64_t version,
                                                     int count) const {
  MutexLock lock(&mutex_);
  const Kept* const kept = FindKept(model, version);
  if (kept == nullptr || kept->requests.empty() || count <= 0) return {};
  const std::vector<RequestRecord>& all = kept->requests;
  const size_t wanted = std::min(all.size(), static_cast<size_t>(count));
  const auto slowest = static_cast<size_t>(
      std::ranges::max_element(all, {}, &RequestRecord::total_ns) - all.begin());
  std::set<size_t> chosen = {slowest};
  for (size_t i = 0; chosen.size() < wanted && i < wanted; ++i) {
    chosen.insert(i * all.size() / wanted);
  }
  std::vector<RequestRecord> sample;
  sample.reserve(chosen.size());
  for (const size_t i : chosen) sample.push_back(all[i]);
  return sample;
}

std::vector<Warning> Analyzer::Warnings(double max_age_seconds) const {
  MutexLock lock(&mutex_);
  return warnings_.Recent(clock_.UnixMillis(), max_age_seconds);
}

std::vector<Adaptation> Analyzer::Adaptations(absl::string_view model) const {
  MutexLock lock(&mutex_);
  std::vector<Adaptation> found;
  for (const Adaptation& adaptation : adaptations_) {
    if (model.empty() || adaptation.model == model) found.push_back(adaptation);
  }
  return found;
}

}  // namespace bitmill
