// Arithmetic on sizes that come from a file or a request. Every such product or sum goes through
// here, so that "the size wrapped around" cannot happen anywhere. Signed 64-bit, never negative.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace bitmill {

// nullopt when an operand is negative or the result does not fit int64_t.
inline std::optional<int64_t> CheckedMul(int64_t a, int64_t b) {
  int64_t result = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t result = 0;
  if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// Product of all dimensions, 1 for none; nullopt as above. A zero dimension gives 0 only when the
// product of the others fits, so that any part of an accepted shape has a product too.
inline std::optional<int64_t> CheckedProduct(absl::Span<const int64_t> dims) {
  int64_t product = 1;
  bool zero = false;
  for (const int64_t dim : dims) {
    if (dim < 0) return std::nullopt;
    zero = zero || dim == 0;
    if (dim != 0 && __builtin_mul_overflow(product, dim, &product)) return std::nullopt;
  }
  return zero ? 0 : product;
}

}  // namespace bitmill
