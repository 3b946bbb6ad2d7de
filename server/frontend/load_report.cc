#include "server/frontend/load_report.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/orca_service.pb.h"

namespace bitmill {
namespace {

using xds::data::orca::v3::OrcaLoadReport;

constexpr char kLoadKey[] = "endpoint-load-metrics-bin";
constexpr char kFormatKey[] = "endpoint-load-metrics-format";
constexpr char kBinaryFormat[] = "bin";

// Balancers drop a report with a number that is negative or none.
double Sane(double value) { return std::isfinite(value) && value > 0 ? value : 0; }

double UtilizationOf(const ModelReport& model) {
  const Forecast& forecast = model.forecast;
  if (forecast.capacity_rows_per_s > 0) {
    return Sane(forecast.demand_rows_per_s / forecast.capacity_rows_per_s);
  }
  return Sane(model.busy_share);
}

bool Asked(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find(kFormatKey);
  return found != context.client_metadata().end() && found->second == kBinaryFormat;
}

class LoadUpdates final : public UpdateSource {
 public:
  LoadUpdates(const FrontendContext& context, const LoadReporter& reporter)
      : context_(context), reporter_(reporter) {}

  absl::StatusOr<double> Open(const std::string& bytes) override {
    if (context_.services.analysis == nullptr) {
      return absl::UnimplementedError("there are no load reports while the analysis is off");
    }
    xds::service::orca::v3::OrcaLoadReportRequest request;
    if (!request.ParseFromString(bytes)) {
      return absl::InvalidArgumentError("the bytes are not an OrcaLoadReportRequest");
    }
    const double seconds = static_cast<double>(request.report_interval().seconds()) +
                           request.report_interval().nanos() * 1e-9;
    if (seconds < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("report_interval is ", seconds, " s, expected 0 or more"));
    }
    return seconds;
  }

  std::optional<std::string> Next() override {
    std::shared_ptr<const std::string> newest = reporter_.Newest();
    if (newest == last_) return std::nullopt;
    last_ = std::move(newest);
    return *last_;
  }

 private:
  const FrontendContext& context_;
  const LoadReporter& reporter_;
  std::shared_ptr<const std::string> last_;
};

}  // namespace

OrcaLoadReport MakeLoadReport(const AnalysisReport& report) {
  OrcaLoadReport load;
  const HostWindow& host = report.host;
  if (host.cpu_budget_cores > 0) {
    load.set_cpu_utilization(Sane(host.process_cpu_cores / host.cpu_budget_cores));
  }
  if (host.memory_limit_bytes > 0) {
    load.set_mem_utilization(std::clamp(
        static_cast<double>(host.memory_used_bytes) / static_cast<double>(host.memory_limit_bytes),
        0.0, 1.0));
  }
  double utilization = 0, requests = 0, errors = 0, queue = 0, demand = 0, capacity = 0;
  double headroom = 1;
  for (const ModelReport& model : report.models) {
    utilization = std::max(utilization, UtilizationOf(model));
    const double failed =
        Sane(model.refused_per_s) + Sane(model.expired_per_s) + Sane(model.failed_per_s);
    requests += Sane(model.answered_per_s) + failed;
    errors += failed;
    queue += static_cast<double>(model.queue_depth);
    demand += Sane(model.forecast.demand_rows_per_s);
    capacity += Sane(model.forecast.capacity_rows_per_s);
    if (std::isfinite(model.forecast.headroom)) {
      headroom = std::min(headroom, model.forecast.headroom);
    }
  }
  load.set_application_utilization(utilization);
  load.set_rps_fractional(requests);
  load.set_eps(errors);
  auto& named = *load.mutable_named_metrics();
  named["bitmill.headroom"] = headroom;
  named["bitmill.queue_depth"] = queue;
  named["bitmill.demand_rows_per_s"] = demand;
  named["bitmill.capacity_rows_per_s"] = capacity;
  return load;
}

void LoadReporter::Update(const AnalysisReport& report) {
  auto bytes = std::make_shared<const std::string>(MakeLoadReport(report).SerializeAsString());
  MutexLock lock(&mutex_);
  newest_ = std::move(bytes);
}

std::shared_ptr<const std::string> LoadReporter::Newest() const {
  MutexLock lock(&mutex_);
  return newest_;
}

void AddLoadReport(LoadReports when, const LoadReporter& reporter, grpc::ServerContext& context) {
  if (when != LoadReports::kPerRequest && !(when == LoadReports::kAsked && Asked(context))) return;
  const std::shared_ptr<const std::string> newest = reporter.Newest();
  if (newest != nullptr) context.AddTrailingMetadata(kLoadKey, *newest);
}

std::unique_ptr<UpdateSource> CreateLoadUpdates(const FrontendContext& context,
                                                const LoadReporter& reporter) {
  return std::make_unique<LoadUpdates>(context, reporter);
}

}  // namespace bitmill
