#include "backends/parallel/choose_division.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace bitmill {
namespace {

bool KeepsBounds(const TriedDivision& one) {
  return one.gain >= kLeastGain && one.one_row_gain >= kLeastGainOfOneRow;
}

std::string NameOf(const TriedDivision& one) {
  return absl::StrCat(ParallelModeName(one.mode), ":", one.parts);
}

}  // namespace

std::optional<size_t> BestDivision(absl::Span<const TriedDivision> tried) {
  std::optional<size_t> best;
  for (size_t i = 0; i < tried.size(); ++i) {
    if (!KeepsBounds(tried[i])) continue;
    if (!best.has_value() || tried[i].gain > tried[*best].gain) best = i;
  }
  return best;
}

std::string DescribeTried(absl::Span<const TriedDivision> tried, int64_t rows) {
  const std::optional<size_t> best = BestDivision(tried);
  std::string text =
      best.has_value() ? absl::StrCat("is divided, ", NameOf(tried[*best])) : "is not divided";
  absl::StrAppendFormat(&text,
                        ": asked for are %d rows at least %.2f times as fast as whole, and one row "
                        "at least %.2f times; measured ",
                        rows, kLeastGain, kLeastGainOfOneRow);
  if (tried.empty()) return text + "was nothing, there is no way to divide it";
  for (size_t i = 0; i < tried.size(); ++i) {
    const TriedDivision& one = tried[i];
    absl::StrAppendFormat(&text, "%s%s %.2f times%s, one row %.2f times%s", i == 0 ? "" : "; ",
                          NameOf(one), one.gain, one.gain < kLeastGain ? " (too little)" : "",
                          one.one_row_gain,
                          one.one_row_gain < kLeastGainOfOneRow ? " (too little)" : "");
  }
  return text;
}

}  // namespace bitmill
