#include "server/analysis/demand_forecast.h"

#include <algorithm>
#include <cmath>

namespace bitmill {
namespace {

constexpr size_t kScoreAhead = 10;      // ticks
constexpr size_t kCalibrateAhead = 30;  // ticks
constexpr double kMissed = 0.1;         // of the forecasts, wanted
constexpr double kLeastSpread = 1, kMostSpread = 8;
constexpr double kSwitch = 0.8;  // the other's error must be below this much of the best's
constexpr double kVarianceSeconds = 20;
constexpr int kHour = 3600;            // seconds
constexpr double kShortestTick = 0.1;  // seconds: the rate of a shorter one is mostly noise
constexpr double kFirstGrain = 4;      // the first guess of the variance over that of Poisson

}  // namespace

DemandForecast::DemandForecast(const DemandForecastOptions& options)
    : options_(options),
      alpha_(1 - options.discount * options.discount),
      beta_((1 - options.discount) * (1 - options.discount)),
      spread_(options.first_spread) {
  holts_[1].phi = options.damping;
}

// phi + ... + phi^seconds, for seconds that need not be whole.
double DemandForecast::Sum(double phi, double seconds) {
  if (phi >= 1) return seconds;
  return phi * (1 - std::pow(phi, seconds)) / (1 - phi);
}

void DemandForecast::Update(double rows, double seconds, double rows_per_request, bool sustained) {
  if (!(seconds >= kShortestTick)) return;
  const double rate = rows / seconds;
  const double grain = std::max(rows_per_request, 1.0);
  const double poisson =
      std::max({rate, ticks_ > 0 ? level() : 0.0, options_.least_rate}) * grain / seconds;
  stepped_ = false;
  if (ticks_++ == 0) {
    for (Holt& holt : holts_) holt.level = rate;
    variance_ = kFirstGrain * poisson;
    return;
  }
  Score(rate, seconds);
  Calibrate(rate);
  const double sigma = std::sqrt(std::max(variance_, poisson));
  if (GoBack(rate, sigma, seconds)) return;
  before_.held = false;
  const double innovation = rate - Ahead(seconds);
  const double sigmas = innovation / sigma;
  const bool again = sigmas * last_sigmas_ > 0 && std::abs(last_sigmas_) > options_.hint_sigmas;
  if (std::abs(sigmas) > options_.step_sigmas && (again || sustained)) {
    Step(rate);
    last_sigmas_ = 0;
    return;
  }
  last_sigmas_ = sigmas;
  const double limit = options_.clip_sigmas * sigma;
  // The gains are those of a tick of one second.
  const double alpha = 1 - std::pow(1 - alpha_, seconds);
  const double beta = 1 - std::pow(1 - beta_, seconds);
  for (Holt& holt : holts_) {
    const double expected = holt.level + Sum(holt.phi, seconds) * holt.trend;
    const double error = std::clamp(rate - expected, -limit, limit);
    holt.level = std::max(expected + alpha * error, 0.0);
    holt.trend = std::pow(holt.phi, seconds) * holt.trend + beta * error;
  }
  const double clipped = std::clamp(innovation, -limit, limit);
  variance_ += (1 - std::exp(-seconds / kVarianceSeconds)) *
               (std::max(clipped * clipped, poisson / kFirstGrain) - variance_);
}

// Notes what was foretold for this tick, and who was closer.
void DemandForecast::Score(double rate, double seconds) {
  const double keep = std::exp(-seconds / options_.score_seconds);
  for (Holt& holt : holts_) {
    holt.ahead.push_back(std::max(
        holt.level + Sum(holt.phi, static_cast<double>(kScoreAhead) * seconds) * holt.trend, 0.0));
    if (holt.ahead.size() < kScoreAhead) continue;
    const double error = rate - holt.ahead.front();
    holt.ahead.pop_front();
    // A second that is far out says nothing about either.
    const double limit = std::max(variance_, 1.0) * 25;
    holt.error = keep * holt.error + std::min(error * error, limit);
  }
  const size_t other = 1 - best_;
  if (holts_[other].error < kSwitch * holts_[best_].error) best_ = other;
}

void DemandForecast::Calibrate(double rate) {
  foretold_.push_back({.rate = Ahead(kCalibrateAhead), .sigma = Sigma(kCalibrateAhead)});
  if (foretold_.size() <= kCalibrateAhead) return;
  const Foretold& then = foretold_.front();
  const bool missed = std::abs(rate - then.rate) > spread_ * then.sigma;
  spread_ += options_.spread_gain * (missed ? 1 - kMissed : -kMissed);
  spread_ = std::clamp(spread_, kLeastSpread, kMostSpread);
  foretold_.pop_front();
}

// A step of the last tick that is gone again was a burst: everything is as it was before.
bool DemandForecast::GoBack(double rate, double sigma, double seconds) {
  if (!before_.held) return false;
  before_.held = false;
  const Holt& was = before_.holts[best_];
  const double expected = was.level + Sum(was.phi, seconds) * was.trend;
  if (std::abs(rate - expected) >
      std::min(options_.step_sigmas * sigma, 0.5 * std::abs(best().level - expected))) {
    return false;
  }
  holts_ = before_.holts;
  last_sigmas_ = 0;
  return true;
}

void DemandForecast::Step(double rate) {
  before_ = {.holts = holts_, .held = true};
  for (Holt& holt : holts_) {
    // What was foretold before the step is not held against anyone.
    for (double& ahead : holt.ahead) ahead += rate - holt.level;
    holt.level = rate;
    holt.trend = 0;
  }
  stepped_ = true;
}

double DemandForecast::Ahead(double seconds) const {
  const Holt& holt = best();
  return std::max(holt.level + Sum(holt.phi, seconds) * holt.trend, 0.0);
}

double DemandForecast::Sigma(double seconds) const {
  double factor = 1, damped = 0, power = 1;
  const int steps = std::max(static_cast<int>(std::lround(seconds)) - 1, 0);
  for (int j = 0; j < steps; ++j) {
    const double gain = alpha_ + beta_ * damped;
    factor += gain * gain;
    power *= best().phi;
    damped += power;
  }
  return std::sqrt(variance_ * factor);
}

double DemandForecast::SecondsUntil(double rate, double sigmas) const {
  const Holt& holt = best();
  double factor = 1, damped = 0, power = 1, ahead = holt.level;
  double before = holt.level + sigmas * std::sqrt(variance_);
  if (before >= rate) return 0;
  for (int second = 1; second <= kHour; ++second) {
    power *= holt.phi;
    ahead += power * holt.trend;
    const double now = ahead + sigmas * std::sqrt(variance_ * factor);
    if (now >= rate) return second - (now - rate) / (now - before);
    before = now;
    damped += power;
    const double gain = alpha_ + beta_ * damped;
    factor += gain * gain;
  }
  return -1;
}

}  // namespace bitmill
