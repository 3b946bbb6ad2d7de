#include "server/analysis/power_policy.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kSecond = 1'000'000'000;
constexpr double kNanosPerMilli = 1e6;
constexpr MonotonicNanos kDelayWithoutObjective = 5'000'000;
constexpr int kTicksOver = 2;
constexpr double kBelowShare = 0.85;  // of the limit: one level more would surely fit
constexpr MonotonicNanos kFirstWait = 10 * kSecond, kLongestWait = 600 * kSecond;
constexpr MonotonicNanos kTakenBack = 30 * kSecond;  // a step down that lasted shorter
constexpr double kLeastSaving = 0.02;                // of the joules a row that a step must save
constexpr double kSameLoad = 0.2;                    // loads that differ by more do not compare
constexpr double kObjectiveShare = 0.9;
constexpr MonotonicNanos kTryEach = 10 * kSecond;
constexpr MonotonicNanos kFirstCoolDown = 60 * kSecond, kLongestCoolDown = 600 * kSecond;

bool ObjectiveAtRisk(const PowerTick& tick) {
  return tick.objective_ms > 0 && tick.p99_ms > kObjectiveShare * tick.objective_ms;
}

}  // namespace

ModelControls SavingControls(const ModelControls& configured, int level, MonotonicNanos delay_ns) {
  ModelControls controls = configured;
  level = std::clamp(level, 0, kPowerLevels);
  controls.instances =
      std::max(1, configured.instances * (kPowerLevels + 1 - level) / (kPowerLevels + 1));
  // Company is only waited for where there can be any.
  if (configured.max_rows > 1) {
    controls.max_delay_ns += std::max<MonotonicNanos>(delay_ns, 0) * level / kPowerLevels;
  }
  return controls;
}

MonotonicNanos DelayBudget(double objective_ms, double longest_run_ms) {
  if (objective_ms <= 0) return kDelayWithoutObjective;
  const double left_ms = std::max(objective_ms - longest_run_ms, 0.0);
  return static_cast<MonotonicNanos>(left_ms / 2 * kNanosPerMilli);
}

PowerStep PowerClimber::GoTo(int level, const PowerTick& tick, std::string reason) {
  level_ = level;
  changed_ns_ = tick.now_ns;
  ticks_over_ = 0;
  below_since_ns_ = 0;
  over_at_the_top_ = false;
  return {level, std::move(reason)};
}

std::optional<PowerStep> PowerClimber::Tick(const PowerTick& tick) {
  if (changed_ns_ != 0 && tick.window_begin_ns < changed_ns_) return std::nullopt;
  if (tick.joules_per_row > 0) {
    now_ = tick.joules_per_row;
    if (level_ == 0) before_ = tick.joules_per_row;
  }
  if (wish_.max_watts > 0) {
    if (std::optional<PowerStep> step = Limit(tick)) return step;
    // What the limit needs is not taken back for the sake of efficiency, nor the other way round.
    if (tick.watts > kBelowShare * wish_.max_watts) return std::nullopt;
  }
  return wish_.efficiency ? Save(tick) : std::nullopt;
}

std::optional<PowerStep> PowerClimber::Limit(const PowerTick& tick) {
  if (tick.watts < 0) return std::nullopt;
  if (tick.watts > wish_.max_watts) {
    below_since_ns_ = 0;
    if (++ticks_over_ < kTicksOver) return std::nullopt;
    over_at_the_top_ = level_ == kPowerLevels;
    if (over_at_the_top_) return std::nullopt;
    if (lowered_ns_ != 0 && tick.now_ns - lowered_ns_ < kTakenBack) {
      wait_ns_ = std::min(2 * std::max(wait_ns_, kFirstWait), kLongestWait);
    }
    return GoTo(level_ + 1, tick,
                absl::StrFormat("%.1f W, the limit is %.1f W", tick.watts, wish_.max_watts));
  }
  ticks_over_ = 0;
  over_at_the_top_ = false;
  if (tick.watts > kBelowShare * wish_.max_watts || level_ == 0 || wish_.efficiency) {
    below_since_ns_ = 0;
    return std::nullopt;
  }
  if (below_since_ns_ == 0) below_since_ns_ = tick.now_ns;
  if (tick.now_ns - below_since_ns_ < std::max(wait_ns_, kFirstWait)) return std::nullopt;
  lowered_ns_ = tick.now_ns;
  return GoTo(
      level_ - 1, tick,
      absl::StrFormat("%.1f W, clearly below the limit of %.1f W", tick.watts, wish_.max_watts));
}

std::optional<PowerStep> PowerClimber::Save(const PowerTick& tick) {
  const auto give_up = [&](std::string reason) {
    cool_down_ns_ = std::min(std::max(2 * cool_down_ns_, kFirstCoolDown), kLongestCoolDown);
    next_try_ns_ = tick.now_ns + cool_down_ns_;
    tried_from_ = -1;
    return GoTo(level_ - 1, tick, std::move(reason));
  };
  if (level_ > 0 && ObjectiveAtRisk(tick)) {
    return give_up(
        absl::StrFormat("p99 %.2f ms, the objective is %.2f ms", tick.p99_ms, tick.objective_ms));
  }
  if (tick.joules_per_row <= 0) return std::nullopt;  // idle, or not known
  if (tried_from_ > 0) {
    const bool same_load =
        std::abs(tick.rows_per_s - tried_rows_per_s_) <= kSameLoad * tried_rows_per_s_;
    const double from = std::exchange(tried_from_, -1);
    if (same_load && tick.joules_per_row > (1 - kLeastSaving) * from) {
      return give_up(absl::StrFormat("%.3g J a row, before %.3g", tick.joules_per_row, from));
    }
    if (same_load) cool_down_ns_ = 0;
    next_try_ns_ = tick.now_ns + kTryEach;
  }
  if (level_ == kPowerLevels || tick.now_ns < next_try_ns_ || ObjectiveAtRisk(tick)) {
    return std::nullopt;
  }
  tried_from_ = tick.joules_per_row;
  tried_rows_per_s_ = tick.rows_per_s;
  return GoTo(level_ + 1, tick, absl::StrFormat("to save some of %.3g J a row", tried_from_));
}

}  // namespace bitmill
