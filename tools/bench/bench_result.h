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
  double us = 0.0;     // of a row
  double share = 0.0;  // of the time of the row
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

struct BenchReport {
  Isa isa = Isa::kRef;
  std::vector<Roofline> ceilings;  // of one core first, then of more; not empty
  std::vector<BenchResult> results;
};

// The ceilings, one a line.
std::string CeilingsText(const BenchReport& report);
// A table of the results.
std::string ResultsText(const std::vector<BenchResult>& results);
// {"machine": {...}, "ceilings": {...}, "results": [...]}.
std::string BenchJson(const BenchReport& report);

}  // namespace bitmill
