// Where the demand is going: Holt's double exponential smoothing of the rows that arrive per second
// (Holt 1957; Gardner and McKenzie 1985 for the damped trend), with the prediction interval of its
// state space form (Hyndman and others, Forecasting with Exponential Smoothing, 2008, chapter 6).
//
//   level  <- level + phi trend + alpha e          e: what arrived less what was expected
//   trend  <- phi trend + beta e
//   ahead h: level + (phi + ... + phi^h) trend
//   variance ahead h: sigma^2 (1 + sum over j < h of (alpha + beta (phi + ... + phi^j))^2)
//
// alpha = 1 - w^2 and beta = (1 - w)^2 are Brown's gains for a memory of 1 / (1 - w) seconds. Two
// run side by side, one with phi = 1 and one damped; the one whose forecasts of 10 s ahead were
// closer in the last minute speaks. A second that is far out is clipped, so that a burst moves
// nothing; two in a row on the same side are a step, and the level goes there at once.
//
// The variance knows nothing of slopes that change and of bursts. So how many standard deviations
// make a 90 % interval is learned from how forecasts of half a minute ahead turned out: one that
// missed widens it, one that held narrows it a ninth as much (Gibbs and Candes, Adaptive Conformal
// Inference Under Distribution Shift, 2021; in units of Sigma).
//
// Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace bitmill {

struct DemandForecastOptions {
  double discount = 0.85;     // w
  double damping = 0.85;      // phi of the damped one
  double clip_sigmas = 3;     // of an innovation
  double step_sigmas = 4;     // of the second of two, to be a step
  double hint_sigmas = 2;     // of the first of two
  double score_seconds = 30;  // memory of who was closer
  double least_rate = 1;      // rows per second, below which noise is not measured
  double first_spread = 3;    // standard deviations that hold 90 %, before anything was seen
  double spread_gain = 0.1;   // of them, for a miss
};

class DemandForecast {
 public:
  explicit DemandForecast(const DemandForecastOptions& options = {});

  // `rows` arrived in the last `seconds` (about one; less than a tenth of one is not counted).
  // `sustained`: something else, as a queue that is not served, says already that this is no burst.
  // `rows_per_request` is the grain of the demand: at least the noise of a Poisson process of such
  // requests is expected.
  void Update(double rows, double seconds, double rows_per_request, bool sustained);

  bool started() const { return ticks_ > 0; }
  double level() const { return best().level; }               // rows per second
  double trend() const { return best().trend * best().phi; }  // rows per second in the next second
  bool damped() const { return best_ == 1; }
  double Ahead(double seconds) const;  // at least 0
  double Sigma(double seconds) const;  // standard deviation of Ahead
  // Ahead is within so many Sigma of what comes, nine times in ten.
  double spread() const { return spread_; }
  // The first time (seconds from now) at which Ahead + sigmas Sigma reaches `rate`; -1: not within
  // an hour.
  double SecondsUntil(double rate, double sigmas) const;
  // Whether the last Update moved the level at once.
  bool stepped() const { return stepped_; }

 private:
  struct Holt {
    double phi = 1;
    double level = 0, trend = 0;
    std::deque<double> ahead;  // forecasts of kScoreAhead seconds ahead, oldest first
    double error = 0;          // discounted squares of them
  };
  // What was before a step that may turn out to have been a burst.
  struct Before {
    std::array<Holt, 2> holts;
    bool held = false;
  };

  const Holt& best() const { return holts_[best_]; }
  static double Sum(double phi, double seconds);
  void Calibrate(double rate);
  void Score(double rate, double seconds);
  bool GoBack(double rate, double sigma, double seconds);
  void Step(double rate);

  DemandForecastOptions options_;
  double alpha_, beta_;
  std::array<Holt, 2> holts_;
  size_t best_ = 0;
  Before before_;
  double variance_ = 0;  // of an innovation
  // What was foretold for the next half minute, oldest first: how, and the standard deviation.
  struct Foretold {
    double rate = 0, sigma = 0;
  };
  std::deque<Foretold> foretold_;
  double spread_;
  double last_sigmas_ = 0;
  int64_t ticks_ = 0;
  bool stepped_ = false;
};

}  // namespace bitmill
