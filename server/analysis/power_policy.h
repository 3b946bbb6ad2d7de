// How much a model is slowed down to save power: a ladder of settings, from as configured to few
// workers with full batches, and when to climb it. Pure: the same ticks give the same answers.
//
// A limit of watts is a feedback loop with hysteresis: a step up when the power was above it for
// some ticks, a step down when it was clearly below for much longer; a step down that had to be
// taken back doubles the time until the next. Efficiency climbs as long as each step saves energy
// a row and the objective holds, and comes back from a step that does not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "server/analysis/observation.h"
#include "server/metrics/power_wish.h"

namespace bitmill {

inline constexpr int kPowerLevels = 4;  // 0 is as configured

// The settings of a level: workers from all to a fifth of them, and a delay that gathers batches,
// up to `delay_ns` on top of the configured one.
ModelControls SavingControls(const ModelControls& configured, int level, MonotonicNanos delay_ns);

// The longest delay that may be added: half of what the objective leaves beside the longest run;
// without an objective 5 ms.
MonotonicNanos DelayBudget(double objective_ms, double longest_run_ms);

// What one tick shows. Values of a window that began after the last change; -1: not known.
struct PowerTick {
  MonotonicNanos now_ns = 0, window_begin_ns = 0;
  double watts = -1;  // what the limit is about
  double joules_per_row = -1;
  double rows_per_s = 0;
  double p99_ms = 0, objective_ms = 0;  // 0: none
};

struct PowerStep {
  int level = 0;
  std::string reason = {};
};

// Of one thing that is limited: a model, or the server.
class PowerClimber {
 public:
  explicit PowerClimber(const PowerWish& wish) : wish_(wish) {}

  const PowerWish& wish() const { return wish_; }
  int level() const { return level_; }
  // The limit is exceeded, and there is no further level.
  bool at_wits_end() const { return over_at_the_top_; }
  // Before the first step, and since the last one; -1: not known.
  double joules_per_row_before() const { return before_; }
  double joules_per_row_now() const { return now_; }

  // Ticks come in order of time, about one a second. The new level, if it changes.
  std::optional<PowerStep> Tick(const PowerTick& tick);

 private:
  std::optional<PowerStep> Limit(const PowerTick& tick);
  std::optional<PowerStep> Save(const PowerTick& tick);
  PowerStep GoTo(int level, const PowerTick& tick, std::string reason);

  const PowerWish wish_;
  int level_ = 0;
  MonotonicNanos changed_ns_ = 0;
  double before_ = -1, now_ = -1;
  // Limit.
  int ticks_over_ = 0;
  MonotonicNanos below_since_ns_ = 0;  // 0: it is not
  MonotonicNanos lowered_ns_ = 0;      // when it last stepped down; 0: never
  MonotonicNanos wait_ns_ = 0;         // below the limit before a step down
  bool over_at_the_top_ = false;
  // Efficiency.
  double tried_from_ = -1, tried_rows_per_s_ = 0;  // joules a row at the level below, its load
  MonotonicNanos next_try_ns_ = 0, cool_down_ns_ = 0;
};

}  // namespace bitmill
