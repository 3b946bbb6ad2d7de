#include "server/analysis/service_line_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace bitmill {
namespace {

constexpr double kHuber = 2.5;        // standard deviations
constexpr double kLeastSigma = 0.01;  // relative: no clock and no cache is better than that
constexpr double kMedianToSigma = 1.4826;
constexpr size_t kLeastForMedian = 5;     // executions of a tick
constexpr double kSameRows = 0.25;        // relative distance of batch sizes that are alike
constexpr double kLeastShift = 0.08;      // of the median, to be followed at once
constexpr double kPriorShareSigma = 0.5;  // of a's share of the time
constexpr double kSplitError = 0.1;  // most standard error of a and of b n, of S(n), when known
constexpr double kShareGain = 0.2;
constexpr double kSigmaGain = 0.2;
constexpr double kMostShare = 0.999;
constexpr double kLeastExecutions = 10;  // no further than this many is the stretch forgotten
constexpr size_t kRecentRatios = 512, kRecentStalls = 128, kLeastRecent = 32;
constexpr size_t kRatios = 16, kStalls = 32;
constexpr double kStallSigmas = 4, kLeastStall = 0.3;  // of the typical time

double Median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Sorted, in even slices, each as its mean: the mean of all stays.
std::vector<double> SliceMeans(std::vector<double> values, size_t most) {
  std::sort(values.begin(), values.end());
  const size_t count = std::min(most, values.size());
  std::vector<double> means;
  for (size_t i = 0; i < count; ++i) {
    const auto from = values.begin() + static_cast<ptrdiff_t>(values.size() * i / count);
    const auto to = values.begin() + static_cast<ptrdiff_t>(values.size() * (i + 1) / count);
    means.push_back(std::accumulate(from, to, 0.0) / static_cast<double>(to - from));
  }
  return means;
}

// What remains of `held` after `seconds`, but never less than brings it down to `least`.
double Keep(double held, double added, double least, double seconds, double memory_seconds) {
  const double keep = std::exp(-std::max(seconds, 0.0) / memory_seconds);
  if (held <= 0) return 1;
  return std::clamp((least - added) / held, keep, 1.0);
}

}  // namespace

void ServiceLineFit::Update(absl::Span<const ExecutionSample> executions, double weight,
                            double seconds) {
  std::vector<ExecutionSample> valid;
  valid.reserve(executions.size());
  for (const ExecutionSample& execution : executions) {
    if (execution.rows >= 1 && execution.ms > 0) valid.push_back(execution);
  }
  if (valid.empty()) return;
  if (samples_ == 0) Start(valid);
  FollowMedian(valid);
  Accumulate(valid, weight, seconds);
  Solve();
  UpdateStretch(valid, weight, seconds);
  UpdateVariation(valid, weight, seconds);
  samples_ += std::llround(static_cast<double>(valid.size()) * weight);
}

// The first line goes through the median, with the proportion that is assumed.
void ServiceLineFit::Start(absl::Span<const ExecutionSample> executions) {
  std::vector<double> slopes;
  for (const ExecutionSample& execution : executions) {
    slopes.push_back(execution.ms / (options_.prior_rows + execution.rows));
  }
  b_ = Median(slopes);
  a_ = b_ * options_.prior_rows;
  prior_rows_ = options_.prior_rows;
}

void ServiceLineFit::FollowMedian(absl::Span<const ExecutionSample> executions) {
  if (executions.size() < kLeastForMedian) return;
  std::vector<double> ratios;
  double rows = 0;
  for (const ExecutionSample& execution : executions) {
    ratios.push_back(execution.ms / At(execution.rows));
    rows += execution.rows;
  }
  double median = Median(ratios);
  // Batches of another size than those that the line was learned from say that a and b were
  // wrong, not that the machine became slower.
  const double mean_rows = rows / static_cast<double>(executions.size());
  const double known_rows =
      samples_in_memory_ > 0 ? rows_in_memory_ / samples_in_memory_ : mean_rows;
  const bool comparable = split_known_ || std::abs(mean_rows / known_rows - 1) < kSameRows;
  const double noise = 3 * sigma_ / std::sqrt(static_cast<double>(executions.size()));
  if (comparable && std::abs(std::log(median)) > std::max(kLeastShift, noise)) {
    a_ *= median;
    b_ *= median;
    for (double* w : {&waa_, &wab_, &wbb_}) *w /= median * median;
    for (double* w : {&wa_, &wb_}) *w /= median;
    taken_ = expected_ = error_square_ = error_weight_ = 0;
    ratios_.clear();
    stall_ms_.clear();
    stall_weight_ = typical_ms_ = 0;
    for (double& ratio : ratios) ratio /= median;
    median = 1;
  }
  for (double& ratio : ratios) ratio = std::abs(ratio - median);
  const double sigma = std::max(kMedianToSigma * Median(ratios), kLeastSigma);
  sigma_ += (samples_ == 0 ? 1 : kSigmaGain) * (sigma - sigma_);
}

void ServiceLineFit::Accumulate(absl::Span<const ExecutionSample> executions, double weight,
                                double seconds) {
  const double added = static_cast<double>(executions.size()) * weight;
  const double keep =
      Keep(samples_in_memory_, added, options_.min_samples, seconds, options_.memory_seconds);
  for (double* w : {&waa_, &wab_, &wbb_, &wa_, &wb_, &samples_in_memory_, &rows_in_memory_}) {
    *w *= keep;
  }
  for (const ExecutionSample& execution : executions) {
    const double expected = At(execution.rows);
    const double ratio = execution.ms / expected;
    const double distance = std::abs(ratio - 1) / sigma_;
    const double w = weight * (distance > kHuber ? kHuber / distance : 1.0);
    const double xa = 1 / expected, xb = execution.rows / expected;
    waa_ += w * xa * xa;
    wab_ += w * xa * xb;
    wbb_ += w * xb * xb;
    wa_ += w * xa * ratio;
    wb_ += w * xb * ratio;
    samples_in_memory_ += weight;
    rows_in_memory_ += weight * execution.rows;
  }
}

// Minimizes the weighted squares plus the prior ((a's share of S) - share)^2 sigma^2 / 0.25, for
// a, b >= 0.
void ServiceLineFit::Solve() {
  const double rows = rows_in_memory_ / samples_in_memory_;
  const double time = At(rows);
  const double pull = sigma_ * sigma_ / (kPriorShareSigma * kPriorShareSigma);
  const double share = prior_rows_ / (prior_rows_ + rows);
  // The deviation of the share: e = (a (1 - share) - b rows share) / S(rows).
  const double ga = (1 - share) / time, gb = -rows * share / time;
  const double aa = waa_ + pull * ga * ga, ab = wab_ + pull * ga * gb, bb = wbb_ + pull * gb * gb;
  const double determinant = aa * bb - ab * ab;
  a_ = (bb * wa_ - ab * wb_) / determinant;
  b_ = (aa * wb_ - ab * wa_) / determinant;
  if (a_ < 0) {
    a_ = 0;
    b_ = wb_ / wbb_;
  } else if (b_ < 0) {
    b_ = 0;
    a_ = wa_ / waa_;
  }
  const double data = waa_ * wbb_ - wab_ * wab_;  // without the prior
  const double limit = kSplitError * At(rows);
  split_known_ = data > 1e-12 * waa_ * wbb_ && sigma_ * std::sqrt(wbb_ / data) < limit &&
                 sigma_ * std::sqrt(waa_ / data) * rows < limit;
  if (split_known_) {
    const double moved = std::min(share + kShareGain * (a_ / At(rows) - share), kMostShare);
    prior_rows_ = rows * moved / (1 - moved);
  }
}

void ServiceLineFit::UpdateStretch(absl::Span<const ExecutionSample> executions, double weight,
                                   double seconds) {
  const double added = static_cast<double>(executions.size()) * weight;
  const double keep =
      Keep(error_weight_, added, kLeastExecutions, seconds, options_.stretch_memory_seconds);
  for (double* w : {&taken_, &expected_, &error_square_, &error_weight_}) *w *= keep;
  for (const ExecutionSample& execution : executions) {
    taken_ += weight * execution.ms;
    expected_ += weight * At(execution.rows);
  }
  stretch_ = taken_ / expected_;
  for (const ExecutionSample& execution : executions) {
    const double error = execution.ms / (At(execution.rows) * stretch_) - 1;
    error_square_ += weight * error * error;
  }
  error_weight_ += added;
}

void ServiceLineFit::UpdateVariation(absl::Span<const ExecutionSample> executions, double weight,
                                     double seconds) {
  const double keep = std::exp(-std::max(seconds, 0.0) / options_.stall_memory_seconds);
  stall_weight_ *= keep;
  typical_ms_ *= keep;
  for (const ExecutionSample& execution : executions) {
    const double typical = At(execution.rows);
    const double ratio = execution.ms / typical;
    typical_ms_ += weight * typical;
    if (ratio > 1 + std::max(kStallSigmas * sigma_, kLeastStall)) {
      stall_weight_ += weight;
      stall_ms_.push_back(execution.ms - typical);
    } else {
      ratios_.push_back(ratio);
    }
  }
  while (ratios_.size() > kRecentRatios) ratios_.pop_front();
  while (stall_ms_.size() > kRecentStalls) stall_ms_.pop_front();
}

ServiceLine ServiceLineFit::line() const {
  ServiceLine line = typical();
  line.a_ms *= stretch_;
  line.b_ms *= stretch_;
  return line;
}

ServiceLine ServiceLineFit::typical() const {
  if (samples_ == 0) return {};
  return {.a_ms = a_,
          .b_ms = b_,
          .relative_error = std::sqrt(error_square_ / std::max(error_weight_, 1e-9)),
          .samples = samples_,
          .split_known = split_known_};
}

Variation ServiceLineFit::variation() const {
  Variation variation;
  if (ratios_.size() + stall_ms_.size() < kLeastRecent) return variation;
  variation.stalls_per_ms = stall_weight_ / typical_ms_;
  variation.stall_ms = SliceMeans({stall_ms_.begin(), stall_ms_.end()}, kStalls);
  if (ratios_.empty()) return variation;
  variation.ratios = SliceMeans({ratios_.begin(), ratios_.end()}, kRatios);
  const double mean = Mean(variation.ratios);
  for (double& ratio : variation.ratios) ratio /= mean;
  return variation;
}

double Variation::mean_stall_ms() const { return stall_ms.empty() ? 0 : Mean(stall_ms); }

}  // namespace bitmill
