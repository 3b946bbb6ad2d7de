#include "server/analysis/cusum.h"

#include <algorithm>
#include <cmath>

namespace bitmill {
namespace {

constexpr size_t kLeastExecutions = 5;  // of a tick
constexpr double kOutlier = 4;          // median deviations
constexpr double kLeastSpread = 0.02;   // of the ratios, so that equal ones keep some company
constexpr double kMedianToSigma = 1.4826;
constexpr double kToldApart = 0.2;  // most standard error of a and of b n, of S(n)

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What one tick says: how far a and b n are from the reference, in units of S(n).
struct TickLine {
  double a_moved = 0, b_moved = 0;
  double a_error = 0, b_error = 0;  // standard errors
};

TickLine Regress(absl::Span<const ExecutionSample> executions, const ServiceLine& reference) {
  const auto at = [&reference](double rows) { return reference.a_ms + reference.b_ms * rows; };
  std::vector<double> ratios;
  ratios.reserve(executions.size());
  for (const ExecutionSample& execution : executions) {
    ratios.push_back(execution.ms / at(execution.rows));
  }
  const double median = Median(ratios);
  std::vector<double> distances;
  distances.reserve(ratios.size());
  for (const double ratio : ratios) distances.push_back(std::abs(ratio - median));
  const double sigma = std::max(kMedianToSigma * Median(distances), kLeastSpread * median);
  double waa = 0, wab = 0, wbb = 0, wa = 0, wb = 0, rows = 0, count = 0;
  for (size_t i = 0; i < executions.size(); ++i) {
    if (distances[i] > kOutlier * sigma) continue;
    const double xa = 1 / at(executions[i].rows), xb = executions[i].rows * xa;
    waa += xa * xa;
    wab += xa * xb;
    wbb += xb * xb;
    wa += xa * ratios[i];
    wb += xb * ratios[i];
    rows += executions[i].rows;
    ++count;
  }
  rows /= count;
  const double time = at(rows);
  const double determinant = waa * wbb - wab * wab;
  TickLine tick;
  if (determinant > 1e-9 * waa * wbb) {
    tick.a_error = sigma * std::sqrt(wbb / determinant) / time;
    tick.b_error = sigma * std::sqrt(waa / determinant) * rows / time;
    if (std::max(tick.a_error, tick.b_error) < kToldApart) {
      tick.a_moved = ((wbb * wa - wab * wb) / determinant - reference.a_ms) / time;
      tick.b_moved = ((waa * wb - wab * wa) / determinant - reference.b_ms) * rows / time;
      return tick;
    }
  }
  tick.a_moved = tick.b_moved = median - 1;
  tick.a_error = tick.b_error = sigma / std::sqrt(count);
  return tick;
}

}  // namespace

bool Cusum::Update(double sigmas) {
  const double counted = std::clamp(sigmas, -options_.most_sigmas, options_.most_sigmas);
  high_ = std::max(high_ + counted - options_.slack, 0.0);
  low_ = std::max(low_ - counted - options_.slack, 0.0);
  return std::max(high_, low_) > options_.threshold;
}

void LineDrift::Update(absl::Span<const ExecutionSample> executions, const ServiceLine& line) {
  if (executions.size() < kLeastExecutions || line.samples == 0) return;
  if (learned_ < options_.learn_ticks) {
    reference_ = line;
    ++learned_;
    return;
  }
  const TickLine tick = Regress(executions, reference_);
  const bool a_moves = a_.Update(tick.a_moved / std::max(tick.a_error, options_.least_sigma));
  const bool b_moves = b_.Update(tick.b_moved / std::max(tick.b_error, options_.least_sigma));
  a_drifted_ = a_drifted_ || a_moves;
  b_drifted_ = b_drifted_ || b_moves;
  if (!a_drifted_ && !b_drifted_) return;
  if (++held_ < options_.hold_ticks) return;
  // It has been told; what is now is the measure of what comes.
  a_drifted_ = b_drifted_ = false;
  held_ = 0;
  learned_ = 0;
  a_.Reset();
  b_.Reset();
}

}  // namespace bitmill
