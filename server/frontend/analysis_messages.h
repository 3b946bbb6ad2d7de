// What the analysis says, as messages of proto/analysis.proto and as JSON: plain values in, no
// look-up, no clock.
//
// JSON names its fields as the .proto does, prints every field, and writes 64-bit integers as
// strings and values that are not finite as "NaN" and "Infinity" (the JSON mapping of protobuf).
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "proto/analysis.pb.h"
#include "server/analysis/analysis_source.h"
#include "server/analysis/report.h"
#include "server/metrics/metrics.h"

namespace bitmill {

analysis::v1::Warning ToProto(const Warning& warning);
analysis::v1::Adaptation ToProto(const Adaptation& adaptation);
analysis::v1::Diagnosis ToProto(const Diagnosis& diagnosis);
analysis::v1::ModelReport ToProto(const ModelReport& report);
// Of one model, with the host's warnings and its own, or of all when `model` is empty.
analysis::v1::Report ToProto(const AnalysisReport& report, const HostInfo& host,
                             absl::string_view model = "");

// The requests in the order of their arrival.
analysis::v1::Timeline ToProto(absl::string_view model, int64_t version,
                               absl::Span<const HistoryPoint> points,
                               absl::Span<const RequestRecord> requests);

// The same as one line of JSON.
std::string ReportJson(const AnalysisReport& report, const HostInfo& host,
                       absl::string_view model = "");
std::string TimelineJson(absl::string_view model, int64_t version,
                         absl::Span<const HistoryPoint> points,
                         absl::Span<const RequestRecord> requests);

}  // namespace bitmill
