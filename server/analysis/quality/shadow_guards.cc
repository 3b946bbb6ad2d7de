#include "server/analysis/quality/shadow_guards.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"

namespace bitmill {
namespace {

constexpr double kNormal95 = 1.959963984540054;
constexpr size_t kLeastLatencies = 100;

bool Near(float a, float b, double tolerance) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (a == b) return true;
  const double difference = std::abs(static_cast<double>(a) - static_cast<double>(b));
  return difference <= tolerance * std::max(1.0, std::abs(static_cast<double>(a)));
}

bool RowAgrees(absl::Span<const TapPort> outputs, int64_t row,
               absl::Span<const std::byte* const> live, absl::Span<const std::byte* const> shadow,
               double tolerance) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int64_t size = DTypeSize(outputs[i].dtype);
    if (size == 0) continue;
    const int64_t offset = row * outputs[i].row_bytes;
    for (int64_t e = 0; e < outputs[i].row_bytes / size; ++e) {
      if (!Near(ReadElement(outputs[i].dtype, live[i] + offset, e),
                ReadElement(outputs[i].dtype, shadow[i] + offset, e), tolerance)) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

Interval WilsonInterval(int64_t part, int64_t whole) {
  if (whole <= 0) return {};
  const auto n = static_cast<double>(whole);
  const double p = static_cast<double>(part) / n;
  const double z2 = kNormal95 * kNormal95;
  const double middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kNormal95 / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

int64_t QuantileOf(std::vector<int64_t> values, double quantile) {
  if (values.empty()) return 0;
  const double rank = std::ceil(quantile * static_cast<double>(values.size()));
  const size_t place = std::min(values.size() - 1, static_cast<size_t>(std::max(1.0, rank)) - 1);
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(place));
  return values[place];
}

absl::Status CheckGuards(const PromotionGuards& guards, const ShadowCounts& counts,
                         const AccuracyPair& accuracy) {
  if (counts.compared < guards.min_compared) {
    return absl::FailedPreconditionError(
        absl::StrFormat("guard promote_min_compared: %d rows were compared, %d are wanted",
                        counts.compared, guards.min_compared));
  }
  const Interval agreement = WilsonInterval(counts.agreed, counts.compared);
  if (agreement.low < guards.min_agreement) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "guard promote_min_agreement: %.4f agree (95 %% interval %.4f to %.4f, %d rows), its lower "
        "end is wanted to be %.4f",
        counts.agreement(), agreement.low, agreement.high, counts.compared, guards.min_agreement));
  }
  const double errors = counts.requests == 0 ? 0
                                             : static_cast<double>(counts.failed) /
                                                   static_cast<double>(counts.requests);
  if (errors > guards.max_error_share) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "guard promote_max_error_share: %.4f of %d requests failed, at most %.4f may", errors,
        counts.requests, guards.max_error_share));
  }
  if (accuracy.live_labels >= guards.min_labels && accuracy.shadow_labels >= guards.min_labels &&
      accuracy.live - accuracy.shadow > guards.max_accuracy_drop) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "guard promote_max_accuracy_drop: accuracy %.4f (%d labels) against %.4f (%d labels), at "
        "most %.4f less may be",
        accuracy.shadow, accuracy.shadow_labels, accuracy.live, accuracy.live_labels,
        guards.max_accuracy_drop));
  }
  if (counts.shadow_ns.size() >= kLeastLatencies) {
    const auto live = static_cast<double>(QuantileOf(counts.live_ns, 0.99));
    const auto shadow = static_cast<double>(QuantileOf(counts.shadow_ns, 0.99));
    if (shadow > live * guards.max_latency_ratio) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "guard promote_max_latency_ratio: p99 %.3f ms against %.3f ms, at most %.2f times may be",
          shadow * 1e-6, live * 1e-6, guards.max_latency_ratio));
    }
  }
  return absl::OkStatus();
}

int64_t CountAgreeing(const AnswerMeaning& meaning, absl::Span<const TapPort> outputs, int64_t rows,
                      absl::Span<const std::byte* const> live,
                      absl::Span<const std::byte* const> shadow, double tolerance) {
  int64_t agreeing = 0;
  for (int64_t row = 0; row < rows; ++row) {
    if (meaning.has_classes()) {
      const int64_t offset = row * outputs[0].row_bytes;
      const int32_t one = ReadPrediction(meaning, live[0] + offset).index;
      const int32_t other = ReadPrediction(meaning, shadow[0] + offset).index;
      agreeing += one == other ? 1 : 0;
    } else {
      agreeing += RowAgrees(outputs, row, live, shadow, tolerance) ? 1 : 0;
    }
  }
  return agreeing;
}

}  // namespace bitmill
