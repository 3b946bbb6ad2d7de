// Asks a server's AnalysisService.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "proto/analysis.pb.h"
#include "tools/analysis/fleet.h"

namespace grpc {
class ClientContext;
}

namespace bitmill {

// The newest report. Unavailable, naming the address and what to do, when nothing answers there;
// Unimplemented when the server has no analysis.
absl::StatusOr<analysis::v1::Report> AskReport(const std::string& address, absl::Duration timeout);

// That report and the timeline of each model in it, or of those called `model` where it is not
// empty (NotFound when there is none). A timeline that the server does not give is left out.
absl::StatusOr<analysis::v1::SavedReport> AskSavedReport(const std::string& address,
                                                         const std::string& model,
                                                         int history_seconds,
                                                         absl::Duration timeout);

// Follows a server's reports on a thread of its own, and asks again a second after it was lost.
class ReportWatcher {
 public:
  // A report every `period`.
  ReportWatcher(std::string address, absl::Duration period);
  ~ReportWatcher();
  ReportWatcher(const ReportWatcher&) = delete;
  ReportWatcher& operator=(const ReportWatcher&) = delete;

  TargetReport Newest() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();
  absl::Status Follow() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string address_;
  const absl::Duration period_;
  mutable Mutex mutex_;
  CondVar stopped_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mutex_) = nullptr;  // the one in progress
  std::shared_ptr<const analysis::v1::Report> report_ ABSL_GUARDED_BY(mutex_);
  absl::Time received_ ABSL_GUARDED_BY(mutex_);
  std::string error_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace bitmill
