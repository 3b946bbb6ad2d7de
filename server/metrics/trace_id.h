// The trace that a request belongs to, as W3C Trace Context names it: 16 bytes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"

namespace bitmill {

struct TraceId {
  uint64_t high = 0, low = 0;  // both 0: none

  bool empty() const { return high == 0 && low == 0; }
  std::string Hex() const { return absl::StrFormat("%016x%016x", high, low); }  // 32 digits
};

}  // namespace bitmill
