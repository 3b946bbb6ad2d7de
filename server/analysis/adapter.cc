#include "server/analysis/adapter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"

namespace bitmill {
namespace {

constexpr size_t kMaxRecords = 100;
constexpr double kNanosPerMilli = 1e6;
constexpr double kNanosPerSecond = 1e9;
// Of the objective, before anything is known.
constexpr double kFirstAdmitShare = 0.9;
constexpr double kAdviseAgainSeconds = 300;
constexpr double kSameAdvice = 0.1;  // values of a control that differ by less, of the larger
// A share of what was offered below this, or a load that differs by more than this share from when
// the policy was asked, are reasons to ask it again soon.
constexpr double kContentShare = 0.98;
constexpr double kOtherLoad = 0.2;
// Goodput of a window of N requests is uncertain by about 1 / sqrt(N); so many of those make a drop
// that is no chance.
constexpr double kChanceDrop = 3.0;

double SecondsSince(MonotonicNanos then, MonotonicNanos now) {
  return static_cast<double>(now - then) / kNanosPerSecond;
}

using Advice = std::pair<Control, double>;

bool NothingNew(const Advice& advice, const Advice& before) {
  return advice.first == before.first && std::abs(advice.second - before.second) <=
                                             kSameAdvice * std::max(advice.second, before.second);
}

}  // namespace

ModelAdapter::Outcome ModelAdapter::Tick(const ModelWindow& window, const ModelReport& report,
                                         double cpu_budget_cores, MonotonicNanos now_ns) {
  Outcome outcome;
  if (window.objective.adapt == AdaptMode::kOff || window.objective.p99_ms <= 0) return outcome;
  if (std::optional<Change> first = Begin(window, now_ns)) {
    outcome.change = std::move(first);
    return outcome;
  }
  // What is in the window must have come after the change.
  if (changed_ns_ != 0 && window.begin_ns < changed_ns_) return outcome;
  const double goodput = GoodRowsPerSecond(window);
  const double offered = OfferedRowsPerSecond(window);
  // Asking costs milliseconds: again after a window, or when the load is another one.
  const bool changed_load = std::abs(offered - asked_offered_) > kOtherLoad * asked_offered_;
  const bool content = goodput >= kContentShare * offered;
  if (!watched_ && asked_ns_ != 0 && (content || !changed_load) &&
      SecondsSince(asked_ns_, now_ns) < window.seconds()) {
    return outcome;
  }
  asked_ns_ = now_ns;
  asked_offered_ = offered;
  const std::optional<TuningCase> question = MakeTuningCase(window, report.line, cpu_budget_cores);
  if (watched_) {
    outcome.realized_goodput_per_s = goodput;
    outcome.change = Judge(window, question ? &*question : nullptr, goodput, now_ns);
    watched_.reset();
    if (outcome.change) return outcome;
  }
  if (question) outcome.change = Improve(window, *question, now_ns);
  return outcome;
}

std::optional<ModelAdapter::Change> ModelAdapter::Begin(const ModelWindow& window,
                                                        MonotonicNanos now_ns) {
  const bool first = !std::exchange(begun_, true);
  if (!first || window.objective.adapt != AdaptMode::kOn || !window.requests.empty() ||
      window.controls.admit_within_ns != 0) {
    return std::nullopt;
  }
  const double within_ms = kFirstAdmitShare * window.objective.p99_ms;
  Change change{.controls = window.controls, .record = {}, .takes_back = false};
  change.controls.admit_within_ns = static_cast<MonotonicNanos>(within_ms * kNanosPerMilli);
  change.record.control = Control::kAdmitWithin;
  change.record.to = static_cast<double>(change.controls.admit_within_ns);
  change.record.applied = true;
  change.record.reason = absl::StrFormat(
      "admit_within from 0.00 ms to %.2f ms: the objective is %.2f ms, and nothing has come yet",
      within_ms, window.objective.p99_ms);
  changed_ns_ = now_ns;
  return change;
}

std::optional<ModelAdapter::Change> ModelAdapter::Judge(const ModelWindow& window,
                                                        const TuningCase* question, double realized,
                                                        MonotonicNanos now_ns) {
  const Watched& watched = *watched_;
  Bar& bar = bars_[static_cast<size_t>(watched.control)];
  if (question == nullptr) return std::nullopt;  // too little came to tell
  // The old setting would give what it gave, of what is offered now, and no more than the model
  // itself predicts for it.
  const double expected =
      std::min({watched.goodput_before, watched.share_before * question->offered_rows_per_s,
                Score(*question, watched.before).good_rows_per_s});
  const double chance =
      kChanceDrop / std::sqrt(static_cast<double>(std::max<size_t>(window.requests.size(), 1)));
  if (realized >= expected * std::min(options_.rollback_share, 1 - chance)) {
    bar.rollbacks = std::max(bar.rollbacks - 1, 0);
    return std::nullopt;
  }
  const double cool_down = std::min(options_.cool_down_seconds * std::exp2(bar.rollbacks),
                                    options_.max_cool_down_seconds);
  ++bar.rollbacks;
  bar.until_ns = now_ns + static_cast<MonotonicNanos>(cool_down * kNanosPerSecond);
  changed_ns_ = now_ns;
  Change change{.controls = watched.before, .record = {}, .takes_back = true};
  change.record.control = watched.control;
  change.record.from = ValueOf(watched.after, watched.control);
  change.record.to = ValueOf(watched.before, watched.control);
  change.record.predicted_goodput_per_s = expected;
  change.record.applied = true;
  change.record.reason = absl::StrFormat(
      "%s taken back: %.0f rows/s in time, %.0f expected with the old setting; left alone for "
      "%.0f s",
      kControlNames[static_cast<size_t>(watched.control)], realized, expected, cool_down);
  return change;
}

std::optional<ModelAdapter::Change> ModelAdapter::Improve(const ModelWindow& window,
                                                          const TuningCase& question,
                                                          MonotonicNanos now_ns) {
  const bool advise = window.objective.adapt == AdaptMode::kAdvise;
  const bool quiet =
      changed_ns_ == 0 || SecondsSince(changed_ns_, now_ns) >= options_.quiet_seconds;
  // Under the same load a second change so soon is more often the window's chance than a gain.
  const double offered_now = question.offered_rows_per_s;
  if (!quiet && std::abs(offered_now - changed_offered_) <= kOtherLoad * changed_offered_) {
    return std::nullopt;
  }
  ControlSet barred{};
  for (size_t i = 0; i < kControls; ++i) barred[i] = now_ns < bars_[i].until_ns;
  const std::optional<Proposal> best =
      Propose(question, window.controls, barred, quiet ? options_.min_gain : options_.large_gain);
  if (!best) return std::nullopt;
  if (advise) {
    const std::pair<Control, double> advice{best->control, best->to};
    if (advised_ns_ != 0 &&
        (NothingNew(advice, advised_) ||
         SecondsSince(advised_ns_, now_ns) < options_.quiet_seconds) &&
        SecondsSince(advised_ns_, now_ns) < kAdviseAgainSeconds) {
      return std::nullopt;
    }
    advised_ = advice;
    advised_ns_ = now_ns;
  } else {
    const double offered = std::max(question.offered_rows_per_s, 1e-9);
    const double goodput = GoodRowsPerSecond(window);
    watched_ = Watched{.control = best->control,
                       .before = window.controls,
                       .after = best->controls,
                       .changed_ns = now_ns,
                       .goodput_before = goodput,
                       .share_before = goodput / offered};
    changed_ns_ = now_ns;
    changed_offered_ = offered_now;
  }
  Change change{.controls = best->controls, .record = {}, .takes_back = false};
  change.record.control = best->control;
  change.record.from = best->from;
  change.record.to = best->to;
  change.record.predicted_goodput_per_s = best->after.good_rows_per_s;
  change.record.applied = !advise;
  change.record.reason = best->reason;
  return change;
}

void ModelAdapter::Cancel() { watched_.reset(); }

Adapter::Adapter(ControlSink& sink, const AdapterOptions& options)
    : sink_(sink), options_(options) {}

void Adapter::Tick(const Observation& observation, const AnalysisReport& report) {
  for (auto& [key, served] : served_) served.seen = false;
  for (size_t i = 0; i < report.models.size(); ++i) {
    TickModel(observation, observation.models[i], report.models[i]);
  }
  std::erase_if(served_, [](const auto& entry) { return !entry.second.seen; });
}

void Adapter::TickModel(const Observation& observation, const ModelWindow& window,
                        const ModelReport& report) {
  const std::pair<std::string, int64_t> key{window.facts.name, window.facts.version};
  auto found = served_.find(key);
  // Loaded again: with the settings of its file, and nothing that was learnt holds.
  if (found != served_.end() && found->second.loaded_ns != window.facts.loaded_ns) {
    served_.erase(found);
    found = served_.end();
  }
  if (found == served_.end()) {
    found = served_
                .emplace(key, Served{.adapter = ModelAdapter(options_),
                                     .loaded_ns = window.facts.loaded_ns,
                                     .last_id = 0,
                                     .seen = true})
                .first;
  }
  Served& served = found->second;
  served.seen = true;
  ModelAdapter::Outcome outcome =
      served.adapter.Tick(window, report, observation.host.cpu_budget_cores, observation.now_ns);
  if (outcome.realized_goodput_per_s) {
    if (Adaptation* const last = Find(served.last_id)) {
      last->realized_goodput_per_s = *outcome.realized_goodput_per_s;
    }
  }
  if (outcome.change) Record(served, observation, window, *outcome.change);
}

void Adapter::Record(Served& served, const Observation& observation, const ModelWindow& window,
                     ModelAdapter::Change& change) {
  Adaptation& record = change.record;
  record.id = next_id_++;
  record.unix_ms = observation.unix_millis;
  record.model = window.facts.name;
  record.version = window.facts.version;
  if (record.applied) {
    const absl::Status applied =
        sink_.Apply(window.facts.name, window.facts.version, change.controls);
    if (!applied.ok()) {
      record.applied = false;
      absl::StrAppend(&record.reason, "; not made: ", applied.message());
      served.adapter.Cancel();
    }
  }
  if (change.takes_back && record.applied) {
    if (Adaptation* const last = Find(served.last_id)) last->rolled_back = true;
  }
  if (record.applied) served.last_id = record.id;
  LogInfo(absl::StrCat(record.applied ? "setting changed" : "setting advised",
                       " name=", EscapeForLog(record.model), " version=", record.version,
                       " reason=\"", record.reason, "\""));
  records_.push_back(record);
  if (records_.size() > kMaxRecords) records_.pop_front();
}

Adaptation* Adapter::Find(int64_t id) {
  for (Adaptation& record : records_) {
    if (record.id == id) return &record;
  }
  return nullptr;
}

std::vector<Adaptation> Adapter::Adaptations() const { return {records_.begin(), records_.end()}; }

}  // namespace bitmill
