// Searches for the point where a monotone condition becomes true: how a chain of float operations
// and a quantizer become comparisons without any algebra, hence without rounding errors.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace bitmill {

// The smallest float from -infinity to +infinity for which `holds` is true, where `holds` is false
// up to some point and true from there on; -infinity when always true, NaN when never. 32 calls.
// A result of zero is +0.0, which compares as -0.0 does.
float SmallestFloatWhere(const std::function<bool(float)>& holds);

// The smallest integer in [low, high] for which `holds` is true; INT32_MIN when it is true for
// `low`, INT32_MAX when it is not for `high`.
int32_t SmallestIntWhere(int32_t low, int32_t high, const std::function<bool(int32_t)>& holds);

// Where codes 1 .. levels-1 begin on the input of a function that never falls; NaN for a code that
// is never reached.
std::vector<float> CodeThresholds(int32_t levels, const std::function<int32_t(float)>& code);

}  // namespace bitmill
