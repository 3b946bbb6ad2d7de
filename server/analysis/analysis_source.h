// Where the RPCs, the metrics and the web page get the analysis from. Implemented by the Analyzer,
// which makes a report every second.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/analysis/report.h"

namespace bitmill {

// A second of a model's history.
struct HistoryPoint {
  int64_t unix_millis = 0;
  double offered_per_s = 0, answered_per_s = 0, goodput_per_s = 0;
  double p50_ms = 0, p99_ms = 0;
  double queue_depth = 0, mean_batch_rows = 0, busy_share = 0;
  double demand_rows_per_s = 0, demand_ahead_rows_per_s = 0;
  double demand_ahead_low = 0, demand_ahead_high = 0;
  double capacity_rows_per_s = 0;
  Cause cause = Cause::kUnknown;
  double cause_score_ms = 0;
};

class AnalysisSource {
 public:
  virtual ~AnalysisSource() = default;

  // Never null; before the first tick a report without models. Thread-safe, cheap.
  virtual std::shared_ptr<const AnalysisReport> Newest() const = 0;
  // `on_report` is called after each new report, on the analysis' thread; it must be quick. It is
  // never called again once Unsubscribe has returned. Thread-safe.
  virtual int64_t Subscribe(std::function<void()> on_report) = 0;
  virtual void Unsubscribe(int64_t id) = 0;

  // Oldest first, at most the last `seconds` (10 minutes are kept); version 0: the newest loaded.
  // Empty for a model that is not known.
  virtual std::vector<HistoryPoint> History(absl::string_view model, int64_t version,
                                            int seconds) const = 0;
  // Of the last window, at most `count`, spread evenly over it and always with the slowest one.
  virtual std::vector<RequestRecord> SampledRequests(absl::string_view model, int64_t version,
                                                     int count) const = 0;
  // Those that hold, and those cleared within `max_age_seconds`; newest last.
  virtual std::vector<Warning> Warnings(double max_age_seconds) const = 0;
  // Newest last; an empty name: of all models.
  virtual std::vector<Adaptation> Adaptations(absl::string_view model) const = 0;
};

}  // namespace bitmill
