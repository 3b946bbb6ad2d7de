#include "kernels/roofline/sparse_suite.h"

#include <algorithm>

#include "kernels/roofline/burst.h"
#include "kernels/roofline/sparse_problems.h"

namespace bitmill {
namespace {

double SecondsOf(const std::function<void()>& run, int64_t turns) {
  const double start = ThreadSeconds();
  for (int64_t i = 0; i < turns; ++i) run();
  return (ThreadSeconds() - start) / static_cast<double>(turns);
}

// Dense and sparse in turn: what slows the machine down for a while slows both.
SparsePoint MeasurePoint(const SparseProblem& problem, double density,
                         const SparseSuiteOptions& options) {
  const int64_t dense_turns = TurnsOfBurst(problem.dense);
  const int64_t sparse_turns = TurnsOfBurst(problem.sparse);
  const double start = ThreadSeconds();
  std::vector<double> speeds;
  double before = SecondsOf(problem.dense, dense_turns);
  while (static_cast<int>(speeds.size()) < options.pairs ||
         ThreadSeconds() - start < options.seconds) {
    const double sparse = SecondsOf(problem.sparse, sparse_turns);
    const double after = SecondsOf(problem.dense, dense_turns);
    if (sparse > 0) speeds.push_back((before + after) / 2 / sparse);
    before = after;
  }
  SparsePoint point;
  point.density = density;
  point.speed = Quantile(speeds, 0.5);
  point.spread = (Quantile(speeds, 0.75) - Quantile(speeds, 0.25)) / point.speed;
  return point;
}

// Where the line through the times of neighbouring points meets that of the dense form, 1.
double BreakEven(const std::vector<SparsePoint>& points) {
  for (size_t i = points.size(); i > 0; --i) {
    const SparsePoint& low = points[i - 1];
    if (low.speed < 1) continue;
    if (i == points.size()) return 1.0;
    const SparsePoint& high = points[i];
    const double low_time = 1 / low.speed, high_time = 1 / high.speed;
    return low.density + (high.density - low.density) * (1 - low_time) / (high_time - low_time);
  }
  return 0.0;
}

bool Matches(const std::string& filter, const SparseCase& c) {
  const auto holds = [&filter](const std::string& text) {
    return text.find(filter) != std::string::npos;
  };
  return filter.empty() || holds(c.name) || holds(c.kind) || holds(c.shape);
}

SparseRecord Measure(const SparseCase& c, const SparseSuiteOptions& options) {
  SparseRecord record;
  record.name = c.name;
  record.kind = c.kind;
  record.shape = c.shape;
  record.isa = c.isa;
  record.group_channels = c.form.group_channels;
  record.table_break_even = c.few_pixels ? c.form.break_even_few_pixels : c.form.break_even;
  record.right = true;
  for (const double density : options.densities) {
    const SparseProblem problem = c.make(density);
    record.right = problem.right();
    if (!record.right) return record;
    record.points.push_back(MeasurePoint(problem, density, options));
  }
  record.break_even = BreakEven(record.points);
  return record;
}

}  // namespace

std::vector<SparseRecord> RunSparseSuite(const SparseSuiteOptions& options) {
  std::vector<SparseCase> cases = SparseCases(options.isa, options.only_best);
  cases.erase(std::remove_if(cases.begin(), cases.end(),
                             [&](const SparseCase& c) { return !Matches(options.filter, c); }),
              cases.end());
  std::vector<SparseRecord> records;
  for (const SparseCase& c : cases) {
    if (options.progress) {
      options.progress(static_cast<double>(records.size()) / static_cast<double>(cases.size()),
                       c.kind + " " + c.shape);
    }
    records.push_back(Measure(c, options));
  }
  return records;
}

}  // namespace bitmill
