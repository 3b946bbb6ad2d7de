#include "tools/analysis/analysis_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "grpcpp/grpcpp.h"
#include "proto/analysis.grpc.pb.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;

constexpr absl::Duration kBetweenTries = absl::Seconds(1);
constexpr absl::Duration kFresh = absl::Seconds(5);  // or three periods
constexpr int kSampledRequests = 24;

std::unique_ptr<pb::AnalysisService::Stub> StubOf(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // the question is about this very address
  return pb::AnalysisService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

// In words for the person at the terminal.
absl::Status Explain(const grpc::Status& status, const std::string& address) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return absl::OkStatus();
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError(absl::StrCat(address,
                                                 " cannot be reached: ", status.error_message(),
                                                 "; check the address and that the server runs"));
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(
          absl::StrCat(address,
                       " did not answer in time; check the address, or give more "
                       "--timeout"));
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnimplementedError(
          absl::StrCat(address, " has no bitmill.analysis.v1; it is another server, or older"));
    default:  // gRPC and Abseil number their codes alike
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          absl::StrCat(address, ": ", status.error_message()));
  }
}

}  // namespace

absl::StatusOr<pb::Report> AskReport(const std::string& address, absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  pb::Report report;
  BITMILL_RETURN_IF_ERROR(
      Explain(StubOf(address)->GetReport(&context, pb::GetReportRequest(), &report), address));
  return report;
}

absl::StatusOr<pb::SavedReport> AskSavedReport(const std::string& address, const std::string& model,
                                               int history_seconds, absl::Duration timeout) {
  pb::SavedReport saved;
  BITMILL_ASSIGN_OR_RETURN(*saved.mutable_report(), AskReport(address, timeout));
  if (!model.empty()) {
    auto& models = *saved.mutable_report()->mutable_models();
    for (int i = models.size() - 1; i >= 0; --i) {
      if (models[i].name() != model) models.DeleteSubrange(i, 1);
    }
    if (models.empty()) {
      return absl::NotFoundError(absl::StrCat(address, " serves no model called '", model, "'"));
    }
  }
  const std::unique_ptr<pb::AnalysisService::Stub> stub = StubOf(address);
  for (const pb::ModelReport& reported : saved.report().models()) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    pb::GetTimelineRequest request;
    request.set_model(reported.name());
    request.set_version(reported.version());
    request.set_seconds(history_seconds);
    request.set_max_requests(kSampledRequests);
    pb::Timeline timeline;
    if (stub->GetTimeline(&context, request, &timeline).ok()) {
      // The page finds it by the model's name and version.
      timeline.set_model(reported.name());
      timeline.set_version(reported.version());
      *saved.add_timelines() = std::move(timeline);
    }
  }
  return saved;
}

ReportWatcher::ReportWatcher(std::string address, absl::Duration period)
    : address_(std::move(address)), period_(period), thread_([this] { Run(); }) {}

ReportWatcher::~ReportWatcher() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    stopped_.NotifyAll();
    if (call_ != nullptr) call_->TryCancel();
  }
  thread_.join();
}

TargetReport ReportWatcher::Newest() const {
  MutexLock lock(&mutex_);
  TargetReport target{address_, report_, error_};
  if (report_ != nullptr) {
    const absl::Duration age = absl::Now() - received_;
    target.age_seconds = absl::ToDoubleSeconds(age);
    target.stale = !error_.empty() || age > std::max(kFresh, 3 * period_);
  }
  return target;
}

void ReportWatcher::Run() {
  while (true) {
    const absl::Status status = Follow();
    MutexLock lock(&mutex_);
    if (stop_) return;
    error_ =
        status.ok() ? absl::StrCat(address_, " ended the reports") : std::string(status.message());
    stopped_.WaitFor(&mutex_, absl::ToInt64Nanoseconds(kBetweenTries));
    if (stop_) return;
  }
}

absl::Status ReportWatcher::Follow() {
  const std::unique_ptr<pb::AnalysisService::Stub> stub = StubOf(address_);
  grpc::ClientContext context;
  {
    MutexLock lock(&mutex_);
    if (stop_) return absl::OkStatus();
    call_ = &context;
  }
  pb::WatchReportRequest request;
  request.set_period_seconds(absl::ToDoubleSeconds(period_));
  const auto reader = stub->WatchReport(&context, request);
  auto report = std::make_shared<pb::Report>();
  while (reader->Read(report.get())) {
    MutexLock lock(&mutex_);
    report_ = std::exchange(report, std::make_shared<pb::Report>());
    received_ = absl::Now();
    error_.clear();
  }
  const grpc::Status status = reader->Finish();
  MutexLock lock(&mutex_);
  call_ = nullptr;
  return Explain(status, address_);
}

}  // namespace bitmill
