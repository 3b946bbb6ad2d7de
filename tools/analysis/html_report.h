// A report that was taken from a server: as JSON, and as one page to send to a colleague.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/analysis.pb.h"

namespace bitmill {

// protobuf's JSON with the fields' own names, all of them printed: what /api/report gives, too.
std::string SavedReportJson(const analysis::v1::SavedReport& saved);

// Reads it back; also a bare Report, as /api/report gives it. Fields of a newer server are skipped.
// InvalidArgument when it is neither.
absl::StatusOr<analysis::v1::SavedReport> ParseSavedReport(absl::string_view json);

// The server's own web page with the report in it: one file that loads nothing and runs nothing but
// what it was built with, whatever the names in the report are.
std::string HtmlReport(const analysis::v1::SavedReport& saved);

}  // namespace bitmill
