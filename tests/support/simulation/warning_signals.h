// The signals that are compared: what one would alert on, second by second.
#pragma once

#include <array>
#include <cstdint>
#include <deque>

#include "server/analysis/predictor.h"
#include "server/analysis/warning_book.h"
#include "tests/support/simulation/simulated_model.h"

namespace bitmill {

enum class Signal : uint8_t {
  kBusy,           // an instance is busy for more than 0.9 of the window
  kHalfObjective,  // p99 of the window above half the objective
  kPredictLinear,  // PromQL's predict_linear of p99 over 30 s, 30 s ahead, above the objective
  kOurs,           // the warning saturation_ahead or overloaded holds
};
inline constexpr int kSignals = 4;
inline constexpr std::array<const char*, kSignals> kSignalNames = {
    "busy > 0.9", "p99 > objective / 2", "predict_linear(p99)", "Bitmill"};

class WarningSignals {
 public:
  // The alarms of a second.
  std::array<bool, kSignals> Update(const SimulatedTick& tick);

  const Forecast& forecast() const { return forecast_; }
  const ModelPredictor& predictor() const { return predictor_; }
  bool Holds(WarningReason reason) const;

 private:
  bool PredictLinear(double p99_ms, double objective_ms);

  ModelPredictor predictor_;
  WarningBook book_;
  Forecast forecast_;
  std::deque<double> p99_ms_;  // of the last 30 s
  int64_t unix_millis_ = 1'700'000'000'000;
};

}  // namespace bitmill
