#include "server/repository/memory_budget.h"

#include <cmath>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bitmill {
namespace {

constexpr double kLargestBytes = 1e18;

struct Unit {
  const char* name;
  double bytes;
};
constexpr Unit kUnits[] = {{"b", 1},
                           {"kb", 1e3},
                           {"mb", 1e6},
                           {"gb", 1e9},
                           {"tb", 1e12},
                           {"kib", 1024.0},
                           {"mib", 1024.0 * 1024},
                           {"gib", 1024.0 * 1024 * 1024},
                           {"tib", 1024.0 * 1024 * 1024 * 1024}};

// 0 for a unit that there is not.
double BytesOf(const std::string& unit) {
  for (const Unit& known : kUnits) {
    if (unit == known.name) return known.bytes;
  }
  return 0;
}

}  // namespace

absl::StatusOr<MemoryBudget> ParseMemoryBudget(absl::string_view text, double automatic_share) {
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
  if (lower == "off") return MemoryBudget{};
  if (lower == "auto") return MemoryBudget{.share = automatic_share};
  const size_t digits = lower.find_first_not_of("0123456789.");
  const std::string number = lower.substr(0, digits);
  const std::string unit(absl::StripLeadingAsciiWhitespace(
      digits == std::string::npos ? absl::string_view() : absl::string_view(lower).substr(digits)));
  double value = 0;
  if (absl::SimpleAtod(number, &value) && std::isfinite(value) && value > 0) {
    if (unit.empty() && value <= 1) return MemoryBudget{.share = value};
    const double bytes = std::floor(value * (unit.empty() ? 1 : BytesOf(unit)));
    if (bytes >= 1 && bytes <= kLargestBytes) {
      return MemoryBudget{.bytes = static_cast<int64_t>(bytes)};
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("memory budget '", text,
                   "', expected auto, off, a share as 0.75, or bytes as 512MiB or 4GB"));
}

int64_t BudgetBytes(const MemoryBudget& budget, int64_t device_bytes) {
  if (budget.bytes > 0) return budget.bytes;
  if (budget.share <= 0 || device_bytes <= 0) return 0;
  return static_cast<int64_t>(budget.share * static_cast<double>(device_bytes));
}

std::string BytesText(int64_t bytes) {
  constexpr const char* kNames[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " bytes");
  double value = static_cast<double>(bytes) / 1024;
  size_t i = 0;
  while (value >= 1024 && i + 1 < std::size(kNames)) {
    value /= 1024;
    ++i;
  }
  return absl::StrFormat("%.2f %s", value, kNames[i]);
}

}  // namespace bitmill
