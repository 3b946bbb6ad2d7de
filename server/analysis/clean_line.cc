#include "server/analysis/clean_line.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "server/analysis/quantile.h"

namespace bitmill {
namespace {

constexpr double kLowerMiddle = 0.4;
constexpr double kExactRows = 16;  // more are grouped, a quarter of an octave each
constexpr double kGroupsPerOctave = 4;
constexpr double kLeastSpread = 1.5;  // of the rows, to tell a from b
constexpr double kMilli = 1e6;

struct Group {
  double rows = 0;  // sum
  std::vector<double> ns;
};

struct Point {
  double rows = 0, ns = 0, weight = 0;
};

int KeyOf(double rows) {
  if (rows <= kExactRows) return static_cast<int>(rows);
  return static_cast<int>(kExactRows + 1 + kGroupsPerOctave * std::log2(rows / kExactRows));
}

std::vector<Point> MiddleOfEachSize(const std::vector<CleanSample>& samples) {
  std::map<int, Group> groups;
  for (const CleanSample& sample : samples) {
    Group& group = groups[KeyOf(sample.rows)];
    group.rows += sample.rows;
    group.ns.push_back(sample.ns);
  }
  std::vector<Point> points;
  for (auto& [key, group] : groups) {
    const auto count = static_cast<double>(group.ns.size());
    const double ns = std::max(TakeQuantile(group.ns, kLowerMiddle), 1.0);
    points.push_back({.rows = group.rows / count, .ns = ns, .weight = count / (ns * ns)});
  }
  return points;
}

ServiceLine Scaled(const ServiceLine& known, double rows, double ns) {
  const double expected_ms = known.a_ms + known.b_ms * rows;
  if (known.samples > 0 && expected_ms > 0) {
    const double factor = ns / kMilli / expected_ms;
    return {.a_ms = known.a_ms * factor, .b_ms = known.b_ms * factor};
  }
  return {.a_ms = 0, .b_ms = ns / kMilli / rows};
}

ServiceLine LeastSquares(const std::vector<Point>& points) {
  double w = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (const Point& point : points) {
    w += point.weight;
    x += point.weight * point.rows;
    y += point.weight * point.ns;
    xx += point.weight * point.rows * point.rows;
    xy += point.weight * point.rows * point.ns;
  }
  const double determinant = w * xx - x * x;
  double b = determinant > 0 ? (w * xy - x * y) / determinant : 0;
  double a = (y - b * x) / w;
  if (b < 0) {
    b = 0;
    a = y / w;
  }
  if (a < 0) {
    a = 0;
    b = xy / xx;
  }
  return {.a_ms = a / kMilli, .b_ms = b / kMilli};
}

}  // namespace

ServiceLine FitCleanLine(const std::vector<CleanSample>& samples, const ServiceLine& known,
                         int64_t min_samples) {
  const auto count = static_cast<int64_t>(samples.size());
  if (count < min_samples && known.samples > 0) return known;
  if (count == 0) return {};
  const std::vector<Point> points = MiddleOfEachSize(samples);
  ServiceLine line;
  if (points.back().rows < kLeastSpread * points.front().rows) {
    double weight = 0, rows = 0, ns = 0;
    for (const Point& point : points) {
      weight += point.weight;
      rows += point.weight * point.rows;
      ns += point.weight * point.ns;
    }
    line = Scaled(known, rows / weight, ns / weight);
  } else {
    line = LeastSquares(points);
  }
  line.samples = count;
  return line;
}

}  // namespace bitmill
