// Measuring in short bursts of CPU time.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace bitmill {

// Of the calling thread.
double ThreadSeconds();

// Turns of `run` that take about a millisecond; runs it twice.
int64_t TurnsOfBurst(const std::function<void()>& run);

// The q-quantile, which is one of the values.
double Quantile(std::vector<double> values, double q);

}  // namespace bitmill
