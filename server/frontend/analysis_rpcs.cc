#include "server/frontend/analysis_rpcs.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/analysis.pb.h"
#include "server/frontend/analysis_messages.h"
#include "server/frontend/bind_request.h"

namespace bitmill {
namespace {

namespace pb = analysis::v1;

constexpr int kDefaultTracedRequests = 20;
constexpr int kMaxTracedRequests = 1000;
constexpr int kMaxHistorySeconds = 600;

absl::Status CheckNamed(const std::string& model) {
  if (!model.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("the model's name is empty");
}

absl::Status CheckQualityOn(const FrontendContext& context) {
  if (context.services.quality != nullptr) return absl::OkStatus();
  return absl::UnavailableError("the watch over the models' quality is switched off");
}

absl::Status GetReport(FrontendContext& context, const pb::GetReportRequest& request,
                       pb::Report& response) {
  BITMILL_RETURN_IF_ERROR(CheckAnalysisOn(context));
  BITMILL_RETURN_IF_ERROR(CheckModelKnown(context, request.model()));
  response = ToProto(*context.services.analysis->Newest(), context.services.host, request.model());
  return absl::OkStatus();
}

// The newest version that the report has of the model; 0: none.
int64_t NewestVersion(const AnalysisReport& report, const std::string& model) {
  int64_t newest = 0;
  for (const ModelReport& one : report.models) {
    if (one.facts.name == model) newest = std::max(newest, one.facts.version);
  }
  return newest;
}

bool HasVersion(const FrontendContext& context, const std::string& model, int64_t version) {
  const std::shared_ptr<const AnalysisReport> report = context.services.analysis->Newest();
  return std::ranges::any_of(report->models,
                             [&](const ModelReport& one) {
                               return one.facts.name == model && one.facts.version == version;
                             }) ||
         context.repository.Describe(model, version).ok();
}

absl::Status GetTimeline(FrontendContext& context, const pb::GetTimelineRequest& request,
                         pb::Timeline& response) {
  BITMILL_RETURN_IF_ERROR(CheckAnalysisOn(context));
  BITMILL_RETURN_IF_ERROR(CheckNamed(request.model()));
  BITMILL_RETURN_IF_ERROR(CheckNotNegative("version", static_cast<double>(request.version())));
  BITMILL_RETURN_IF_ERROR(CheckNotNegative("seconds", request.seconds()));
  BITMILL_RETURN_IF_ERROR(CheckNotNegative("max_requests", request.max_requests()));
  BITMILL_RETURN_IF_ERROR(CheckModelKnown(context, request.model()));
  if (request.version() > 0 && !HasVersion(context, request.model(), request.version())) {
    return absl::NotFoundError(
        absl::StrCat("model ", Quoted(request.model()), " has no version ", request.version()));
  }
  const AnalysisSource& source = *context.services.analysis;
  const int seconds = request.seconds() == 0 ? kMaxHistorySeconds : request.seconds();
  const int count = request.max_requests() == 0
                        ? kDefaultTracedRequests
                        : std::min(request.max_requests(), kMaxTracedRequests);
  const int64_t version =
      request.version() > 0 ? request.version() : NewestVersion(*source.Newest(), request.model());
  const std::vector<HistoryPoint> history =
      source.History(request.model(), request.version(), seconds);
  const std::vector<RequestRecord> requests =
      source.SampledRequests(request.model(), request.version(), count);
  response = ToProto(request.model(), version, history, requests);
  return absl::OkStatus();
}

absl::Status ListWarnings(FrontendContext& context, const pb::ListWarningsRequest& request,
                          pb::ListWarningsResponse& response) {
  BITMILL_RETURN_IF_ERROR(CheckAnalysisOn(context));
  BITMILL_RETURN_IF_ERROR(CheckNotNegative("max_age_seconds", request.max_age_seconds()));
  for (const Warning& warning : context.services.analysis->Warnings(request.max_age_seconds())) {
    *response.add_warnings() = ToProto(warning);
  }
  return absl::OkStatus();
}

absl::Status ListAdaptations(FrontendContext& context, const pb::ListAdaptationsRequest& request,
                             pb::ListAdaptationsResponse& response) {
  BITMILL_RETURN_IF_ERROR(CheckAnalysisOn(context));
  BITMILL_RETURN_IF_ERROR(CheckModelKnown(context, request.model()));
  for (const Adaptation& change : context.services.analysis->Adaptations(request.model())) {
    *response.add_adaptations() = ToProto(change);
  }
  return absl::OkStatus();
}

// What the labels say, in views into the request. A label without a truth is counted as invalid,
// one that names no answer as unmatched.
std::vector<TrueLabel> ReadLabels(const pb::FeedbackRequest& request, FeedbackCounts& counts) {
  std::vector<TrueLabel> labels;
  labels.reserve(static_cast<size_t>(request.labels_size()));
  for (const pb::Label& label : request.labels()) {
    if (label.truth_case() == pb::Label::TRUTH_NOT_SET || label.row() < 0) {
      ++counts.invalid;
    } else if (label.answered_case() == pb::Label::ANSWERED_NOT_SET) {
      ++counts.unmatched;
    } else {
      const bool by_input = label.answered_case() == pb::Label::kInput;
      labels.push_back({.by_input = by_input,
                        .key = by_input ? label.input() : label.request_id(),
                        .row = label.row(),
                        .is_class = label.truth_case() == pb::Label::kClassIndex,
                        .class_index = label.class_index(),
                        .value = label.value()});
    }
  }
  return labels;
}

absl::Status Feedback(FrontendContext& context, const pb::FeedbackRequest& request,
                      pb::FeedbackResponse& response) {
  BITMILL_RETURN_IF_ERROR(CheckQualityOn(context));
  BITMILL_RETURN_IF_ERROR(CheckNamed(request.model()));
  BITMILL_RETURN_IF_ERROR(CheckNotNegative("version", static_cast<double>(request.version())));
  BITMILL_RETURN_IF_ERROR(CheckModelKnown(context, request.model()));
  FeedbackCounts unread;
  const std::vector<TrueLabel> labels = ReadLabels(request, unread);
  BITMILL_ASSIGN_OR_RETURN(
      const FeedbackCounts counts,
      context.services.quality->Feedback(request.model(), request.version(), labels));
  response.set_matched(counts.matched);
  response.set_unmatched(counts.unmatched + unread.unmatched);
  response.set_invalid(counts.invalid + unread.invalid);
  return absl::OkStatus();
}

absl::Status Promote(FrontendContext& context, const pb::PromoteRequest& request,
                     pb::PromoteResponse&) {
  BITMILL_RETURN_IF_ERROR(CheckQualityOn(context));
  BITMILL_RETURN_IF_ERROR(CheckNamed(request.model()));
  if (request.version() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("version is ", request.version(), ", expected that of the shadow"));
  }
  BITMILL_RETURN_IF_ERROR(CheckModelKnown(context, request.model()));
  return context.services.quality->Promote(request.model(), request.version());
}

template <typename Request, typename Response,
          absl::Status (*Function)(FrontendContext&, const Request&, Response&)>
void Add(UnaryRpcs& rpcs, const char* name, bool may_take_long = false) {
  rpcs[absl::StrCat("/bitmill.analysis.v1.AnalysisService/", name)] = {
      .run = &RunOnBytes<Request, Response, Function>, .may_take_long = may_take_long};
}

UnaryRpcs MakeRpcs() {
  UnaryRpcs rpcs;
  Add<pb::GetReportRequest, pb::Report, GetReport>(rpcs, "GetReport");
  Add<pb::GetTimelineRequest, pb::Timeline, GetTimeline>(rpcs, "GetTimeline");
  Add<pb::ListWarningsRequest, pb::ListWarningsResponse, ListWarnings>(rpcs, "ListWarnings");
  Add<pb::ListAdaptationsRequest, pb::ListAdaptationsResponse, ListAdaptations>(rpcs,
                                                                                "ListAdaptations");
  Add<pb::FeedbackRequest, pb::FeedbackResponse, Feedback>(rpcs, "Feedback",
                                                           /*may_take_long=*/true);
  Add<pb::PromoteRequest, pb::PromoteResponse, Promote>(rpcs, "Promote", /*may_take_long=*/true);
  return rpcs;
}

}  // namespace

absl::Status CheckAnalysisOn(const FrontendContext& context) {
  if (context.services.analysis != nullptr) return absl::OkStatus();
  return absl::UnavailableError("the analysis is switched off");
}

absl::Status CheckModelKnown(const FrontendContext& context, const std::string& model) {
  if (model.empty()) return absl::OkStatus();
  if (context.repository.Describe(model, 0).ok()) return absl::OkStatus();
  for (const IndexEntry& entry : context.repository.Index()) {
    if (entry.name == model) return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("there is no model ", Quoted(model)));
}

absl::Status CheckNotNegative(const char* field, double value) {
  if (value >= 0 && std::isfinite(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", expected 0 or more"));
}

const UnaryRpcs& AnalysisUnaryRpcs() {
  static const UnaryRpcs rpcs = MakeRpcs();
  return rpcs;
}

}  // namespace bitmill
