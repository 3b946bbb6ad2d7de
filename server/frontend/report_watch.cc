#include "server/frontend/report_watch.h"

#include <utility>

#include "base/status_macros.h"
#include "proto/analysis.pb.h"
#include "server/frontend/analysis_messages.h"
#include "server/frontend/analysis_rpcs.h"

namespace bitmill {
namespace {

class ReportUpdates final : public UpdateSource {
 public:
  explicit ReportUpdates(const FrontendContext& context) : context_(context) {}

  absl::StatusOr<double> Open(const std::string& bytes) override {
    analysis::v1::WatchReportRequest request;
    if (!request.ParseFromString(bytes)) {
      return absl::InvalidArgumentError("the bytes are not a WatchReportRequest");
    }
    BITMILL_RETURN_IF_ERROR(CheckAnalysisOn(context_));
    BITMILL_RETURN_IF_ERROR(CheckNotNegative("period_seconds", request.period_seconds()));
    BITMILL_RETURN_IF_ERROR(CheckModelKnown(context_, request.model()));
    model_ = request.model();
    return request.period_seconds();
  }

  std::optional<std::string> Next() override {
    std::shared_ptr<const AnalysisReport> newest = context_.services.analysis->Newest();
    if (newest == last_) return std::nullopt;
    last_ = std::move(newest);
    return ToProto(*last_, context_.services.host, model_).SerializeAsString();
  }

 private:
  const FrontendContext& context_;
  std::string model_;
  std::shared_ptr<const AnalysisReport> last_;
};

}  // namespace

std::unique_ptr<UpdateSource> CreateReportUpdates(const FrontendContext& context) {
  return std::make_unique<ReportUpdates>(context);
}

}  // namespace bitmill
