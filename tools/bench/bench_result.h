// One line of `bitmill bench`, and how all of them are shown.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "kernels/roofline/roofline.h"

namespace bitmill {

struct BenchStep {
  std::string name, kernel;
  double us = 0.0;         // of a row
  double share = 0.0;      // of the time of the row
  double predicted = 0.0;  // us of a row by the plan, which decides by it what threads share
};

struct BenchResult {
  std::string name, kind, shape;
  int64_t batch = 1;
  int threads = 1;
  std::string isa, unit;
  double value = 0.0;
  // What the machine's measured limits allow, in the same unit, and how much of it was reached;
  // ceiling 0: there is none.
  double ceiling = 0.0, share = 0.0;
  // Of the repetitions, as a part of the median: models (90th - 10th percentile) of the time,
  // kernels between the quartiles of the share; negative: the best one counted.
  double spread = -1.0;
  std::vector<BenchStep> steps;  // of a model
};

// A kernel on pruned weights: its sparse form against its dense one.
struct SparseResult {
  struct Point {
    double density = 0.0;  // blocks of weights left
    double speed = 0.0;    // of the sparse form, the dense one is 1
    double spread = 0.0;   // between the quartiles of the speed, as a part of the median
  };
  std::string name, kind, shape, isa;
  int64_t group_channels = 0;
  std::vector<Point> points;
  double break_even = 0.0;      // density at which both are as fast; 1: sparse is never slower
  double compiled_below = 0.0;  // the density below which the compiler takes the form
};

struct BenchReport {
  Isa isa = Isa::kRef;
  std::vector<Roofline> ceilings;  // of one core first, then of more; not empty
  std::vector<BenchResult> results;
  std::vector<SparseResult> sparse;
};

// The ceilings, one a line.
std::string CeilingsText(const BenchReport& report);
// A table of the results.
std::string ResultsText(const std::vector<BenchResult>& results);
// A table of speeds by density, and each kernel's break-even densities on a line below. Empty if
// there are no results; all have the same densities.
std::string SparseText(const std::vector<SparseResult>& results);
// {"machine": {...}, "ceilings": {...}, "results": [...], "sparse": [...]}, the last if there are.
std::string BenchJson(const BenchReport& report);

}  // namespace bitmill
