// Which warnings hold: raised, kept and cleared from the report of each tick.
//
// A forecast must be bad for three ticks in a row before it is told (in simulation that takes the
// false alarms of bursty loads away for three seconds of lead; docs/analysis.md), what is measured
// is told sooner, and every warning is cleared only after its condition has been clearly gone for
// some ticks, so that none flickers.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/analysis/report.h"

namespace bitmill {

struct WarningOptions {
  double ahead_raise = 0.95, ahead_clear = 0.90;    // demand ahead over capacity
  double now_raise = 1.0, now_clear = 0.95;         // demand now over capacity
  double p99_raise = 1.0, p99_clear = 0.9;          // predicted or measured p99 over the objective
  double slower_raise = 1.25, slower_clear = 1.15;  // an execution's time over what it was before
  double normal_seconds = 120;                      // memory of what it was before
  double throttled_raise = 0.05, throttled_clear = 0.02;  // share of the time or of the periods
  double memory_raise = 0.95, memory_clear = 0.90;        // of the limit
  double memory_stall_raise = 0.10, memory_stall_clear = 0.05;  // share of the time
  double descriptors_raise = 0.90, descriptors_clear = 0.80;    // of the limit
  int64_t least_samples = 20;  // executions before a model's capacity is believed
  size_t history = 1000;       // cleared warnings that are kept
};

// What one tick changed.
struct WarningChanges {
  std::vector<Warning> raised, cleared;
};

class WarningBook {
 public:
  explicit WarningBook(const WarningOptions& options = {}) : options_(options) {}

  // `report` without its warnings. Warnings of versions that it does not have are cleared.
  WarningChanges Update(const AnalysisReport& report);

  // Says from outside whether a warning holds, as what watches a model's quality does; told by the
  // next Update and from then on until said otherwise or the version is gone. An empty model is the
  // host. Not for the reasons that Update judges itself.
  void Set(WarningReason reason, absl::string_view model, int64_t version, bool holds,
           std::string message);

  // Those that hold, by id; their messages have the numbers of the last Update.
  std::vector<Warning> Holding() const;
  // Those that hold and those cleared at most so long before `now`, by id.
  std::vector<Warning> Recent(int64_t now_unix_ms, double max_age_seconds) const;

 private:
  using Key = std::tuple<std::string, int64_t, WarningReason>;
  // One condition of this tick.
  struct Condition {
    WarningReason reason = WarningReason::kOverloaded;
    bool bad = false;   // to be raised
    bool good = false;  // to be cleared
    int raise_ticks = 1, clear_ticks = 5;
    std::string message = {};
  };
  struct State {
    int bad_ticks = 0, good_ticks = 0;
    bool holds = false;
    Warning warning = {};
    int64_t seen_tick = 0;
  };
  struct Said {
    bool holds = false;
    std::string message = {};
  };
  // The line that a model had before, and the size of its batches when that was learned.
  struct Normal {
    ServiceLine line = {};
    double rows = 1;
    int64_t seen_tick = 0;
  };

  void Judge(const std::string& model, int64_t version, Condition condition,
             const AnalysisReport& report, WarningChanges* changes);
  std::vector<Condition> HostConditions(const HostWindow& host) const;
  std::vector<Condition> ModelConditions(const ModelReport& model, double seconds);
  Condition SaturationAhead(const ModelReport& model) const;
  Condition Overloaded(const ModelReport& model) const;
  Condition ObjectiveAtRisk(const ModelReport& model) const;
  Condition CapacityLost(const ModelReport& model, double seconds);
  Condition ServiceDrift(const ModelReport& model) const;
  void Clear(State& state, int64_t unix_ms, WarningChanges* changes);
  void Forget(int64_t unix_ms, WarningChanges* changes);

  WarningOptions options_;
  std::map<Key, State> states_;
  std::map<Key, Said> said_;
  std::map<std::pair<std::string, int64_t>, Normal> normal_;
  std::deque<Warning> cleared_;
  int64_t next_id_ = 1, tick_ = 0, last_unix_ms_ = 0;
};

}  // namespace bitmill
