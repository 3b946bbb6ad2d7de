// Lets the settings of served models follow their objectives.
//
// A model in mode on begins with an admission limit. Once a tick the adapter asks the tuning policy
// (tuning_policy.h) which single change would gain most and makes it (mode on) or says it (advise).
// Afterwards it watches a whole window of what came of it: where goodput is clearly below both what
// it was and what the old setting is predicted to give now, the change is taken back, and that
// control is left alone for a time that doubles. Every change, and every return, is on record with
// its reason, the predicted and the realized goodput.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/analysis/observation.h"
#include "server/analysis/report.h"
#include "server/analysis/tuning_policy.h"

namespace bitmill {

// What makes the changes.
class ControlSink {
 public:
  virtual ~ControlSink() = default;
  // From now on `controls` hold for that version. NotFound when it is not served any more.
  virtual absl::Status Apply(absl::string_view model, int64_t version,
                             const ModelControls& controls) = 0;
  // What a batch draws while it is computed, where it can be computed in several places; 0: not
  // known. Those batches then go where they take the least energy. Nothing to do for others.
  virtual void PreferEnergy(absl::string_view model, int64_t version, double cpu_watts,
                            double device_watts) {
    static_cast<void>(model);
    static_cast<void>(version);
    static_cast<void>(cpu_watts);
    static_cast<void>(device_watts);
  }
};

struct AdapterOptions {
  double min_gain = 0.03;     // of value (tuning_policy.h) that a change must promise
  double large_gain = 0.10;   // may follow the last change after one window if the load is another
  double quiet_seconds = 10;  // between changes otherwise
  double rollback_share = 0.9;    // of the goodput that was expected: less is taken back
  double cool_down_seconds = 30;  // of a control after a rollback; doubles with each more
  double max_cool_down_seconds = 600;
};

// One model version: what to do at this tick. Pure: the same calls give the same answers.
class ModelAdapter {
 public:
  explicit ModelAdapter(const AdapterOptions& options) : options_(options) {}

  struct Change {
    ModelControls controls;   // all, with the change
    Adaptation record;        // `applied` says that the change is to be made, not just told
    bool takes_back = false;  // the change before
  };
  struct Outcome {
    std::optional<Change> change;
    // What came of the change before; set in the tick that knows.
    std::optional<double> realized_goodput_per_s;
  };
  // Ticks come in order of time. At most one change a window.
  Outcome Tick(const ModelWindow& window, const ModelReport& report, double cpu_budget_cores,
               MonotonicNanos now_ns);
  // The change of the last tick was not made: as if it had not been asked for.
  void Cancel();

 private:
  struct Watched {
    Control control = Control::kMaxRows;
    ModelControls before, after;
    MonotonicNanos changed_ns = 0;
    double goodput_before = 0, share_before = 0;  // share: of what was offered
  };
  struct Bar {
    MonotonicNanos until_ns = 0;
    int rollbacks = 0;  // less those that went well since
  };

  // Before the first request: what would miss the objective need not be computed.
  std::optional<Change> Begin(const ModelWindow& window, MonotonicNanos now_ns);
  std::optional<Change> Judge(const ModelWindow& window, const TuningCase* question,
                              double realized, MonotonicNanos now_ns);
  std::optional<Change> Improve(const ModelWindow& window, const TuningCase& question,
                                MonotonicNanos now_ns);

  const AdapterOptions options_;
  bool begun_ = false;
  std::optional<Watched> watched_;
  std::array<Bar, kControls> bars_;
  MonotonicNanos changed_ns_ = 0;  // the last change; 0: none yet
  double changed_offered_ = 0;     // rows a second that were offered then
  MonotonicNanos asked_ns_ = 0;    // the policy, the last time
  double asked_offered_ = 0;       // rows a second that were offered then
  MonotonicNanos advised_ns_ = 0;  // mode advise: when
  std::pair<Control, double> advised_{Control::kMaxRows, 0};
};

// All models. Used by one thread.
class Adapter {
 public:
  // Borrows `sink`, which outlives it.
  explicit Adapter(ControlSink& sink, const AdapterOptions& options = {});

  // After each report. `observation` and `report` are of the same tick, their models in the same
  // order.
  void Tick(const Observation& observation, const AnalysisReport& report);

  // The audit record, newest last; the last 100.
  std::vector<Adaptation> Adaptations() const;

 private:
  struct Served {
    ModelAdapter adapter;
    MonotonicNanos loaded_ns = 0;
    int64_t last_id = 0;  // of its newest change that was made; 0: none
    bool seen = false;    // in this tick
  };

  void TickModel(const Observation& observation, const ModelWindow& window,
                 const ModelReport& report);
  void Record(Served& served, const Observation& observation, const ModelWindow& window,
              ModelAdapter::Change& change);
  Adaptation* Find(int64_t id);

  ControlSink& sink_;
  const AdapterOptions options_;
  std::map<std::pair<std::string, int64_t>, Served> served_;  // by name and version
  std::deque<Adaptation> records_;
  int64_t next_id_ = 1;
};

}  // namespace bitmill
