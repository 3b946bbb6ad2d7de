#include "backends/cpu/step_cost.h"

#include "absl/strings/match.h"

namespace bitmill {
namespace {

constexpr double kBytesPerMicro = 8000.0;

// Multiply-accumulates in a microsecond.
struct Rates {
  double bits = 0.0, codes = 0.0, floats = 0.0;
};

Rates RatesOf(Isa isa) {
  switch (isa) {
    case Isa::kRef:
      return {2e4, 1e3, 1e4};
    case Isa::kAvx2:
      return {3e5, 6e4, 3e4};
    case Isa::kAvxVnni:
      return {3e5, 1e5, 3e4};
    case Isa::kAvx512:
      return {5e5, 1e5, 6e4};
    case Isa::kAvx512Vpopcnt:
      return {1e6, 2e5, 6e4};
    case Isa::kAmx:
      return {1.5e6, 2e5, 6e4};
    case Isa::kNeon:
      return {1e5, 5e4, 1e4};
  }
  return {};
}

}  // namespace

double EstimateMicros(const StepInfo& info, Isa isa) {
  const Rates rates = RatesOf(isa);
  const double rate = absl::StartsWith(info.kernel, "bconv")   ? rates.bits
                      : absl::StartsWith(info.kernel, "qconv") ? rates.codes
                                                               : rates.floats;
  const auto bytes = static_cast<double>(info.weight_bytes + info.output_bytes);
  return static_cast<double>(info.macs) / rate + bytes / kBytesPerMicro;
}

}  // namespace bitmill
