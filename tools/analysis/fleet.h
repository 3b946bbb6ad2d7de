// Several servers' reports as one: rates and capacities are added, latencies are added bucket by
// bucket before a quantile is taken (quantiles are never averaged), and the bottleneck shown is
// that of the server where it costs most.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "proto/analysis.pb.h"

namespace bitmill {

// What is known of one server.
struct TargetReport {
  std::string address;
  std::shared_ptr<const analysis::v1::Report> report;  // null: none has come yet
  std::string error;       // why the newest question was not answered; empty: it was
  double age_seconds = 0;  // of the report
  bool stale = false;      // the report is too old to say anything about now
};

// A model version, on all the servers that have it. NaN: not known.
struct FleetModel {
  std::string name;  // as the servers say it: not fit for a terminal as it is
  int64_t version = 0;
  int servers = 0;
  double answered_per_s = 0, goodput_per_s = 0;
  double lost_per_s = 0;  // refused, expired or failed
  // NaN where several servers answered and one of them sent no histogram.
  double p50_ms = kUnknown, p99_ms = kUnknown;
  double objective_p99_ms = 0;  // the tightest; 0: none
  double mean_batch_rows = kUnknown;
  int64_t queue_depth = 0;
  double busy_share = kUnknown;  // of all instances
  analysis::v1::Cause cause = analysis::v1::UNKNOWN;
  int cause_servers = 0;                             // that name it
  double recoverable_p99_ms = 0, judged_p99_ms = 0;  // where it costs most; 0: not known
  double headroom = kUnknown;                        // 1 - demand ahead of all / capacity of all
  bool headroom_assumed = false;                     // a server has not told a and b apart yet
  double seconds_to_saturation = kUnknown;           // of the server that saturates first

  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
};

struct FleetWarning {
  std::string address;
  analysis::v1::Warning warning;
};

struct Fleet {
  std::vector<TargetReport> targets;   // as given
  std::vector<FleetModel> models;      // by name, then version
  std::vector<FleetWarning> warnings;  // newest first
};

// Targets without a report count as without models; so do stale ones, unless all are stale: then
// the last that was known of each counts.
Fleet MergeReports(absl::Span<const TargetReport> targets);

enum class FleetOrder { kName, kRate, kP99, kQueue, kHeadroom, kCost };
// The most, or the least headroom, first; what is not known last; names decide ties.
void SortModels(FleetOrder order, std::vector<FleetModel>& models);

}  // namespace bitmill
