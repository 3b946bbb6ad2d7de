#include "backends/cpu/step_cost.h"

#include "absl/strings/match.h"

namespace bitmill {
namespace {

// Bytes in a microsecond: weights from the third-level cache, values from the second. Quantizing to
// levels is bound by its arithmetic.
constexpr double kWeightBytes = 2e4;
constexpr double kValueBytes = 3.2e4;
constexpr double kQuantizedBytes = 1.2e4;

// Multiply-accumulates in a microsecond.
struct Rates {
  double bits = 0.0, codes = 0.0, floats = 0.0;
};

Rates RatesOf(Isa isa) {
  switch (isa) {
    case Isa::kRef:
      return {2e4, 1e3, 1e4};
    case Isa::kAvx2:
      return {5e5, 7e4, 4e4};
    case Isa::kAvxVnni:
      return {5e5, 1e5, 4e4};
    case Isa::kAvx512:
      return {3e5, 1.5e5, 8e4};
    case Isa::kAvx512Vpopcnt:
      return {8e5, 3e5, 8e4};
    case Isa::kAmx:
      return {1.4e6, 7e5, 8e4};
    case Isa::kNeon:
      return {1e5, 5e4, 1e4};
  }
  return {};
}

bool OnBits(const StepInfo& info) {
  return absl::StartsWith(info.kernel, "bconv") || absl::StartsWith(info.kernel, "bdepth");
}

}  // namespace

double EstimateMicros(const StepInfo& info, Isa isa) {
  const Rates rates = RatesOf(isa);
  const double rate = OnBits(info)                             ? rates.bits
                      : absl::StartsWith(info.kernel, "qconv") ? rates.codes
                                                               : rates.floats;
  const double value_rate =
      absl::StrContains(info.kernel, "levels") ? kQuantizedBytes : kValueBytes;
  return static_cast<double>(info.macs) / rate +
         static_cast<double>(info.weight_bytes) / kWeightBytes +
         static_cast<double>(info.value_bytes) / value_rate;
}

Ceiling CeilingOf(const StepInfo& info) {
  if (OnBits(info)) {
    return absl::StrContains(info.kernel, "ternary") ? Ceiling::kTernaryBit : Ceiling::kBit;
  }
  return absl::StartsWith(info.kernel, "qconv") ? Ceiling::kLowBitInt8 : Ceiling::kFp32;
}

}  // namespace bitmill
