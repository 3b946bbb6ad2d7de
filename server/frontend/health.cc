#include "server/frontend/health.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/health.pb.h"
#include "server/frontend/bind_request.h"

namespace bitmill {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

}  // namespace

std::optional<bool> IsServing(const FrontendContext& context, const std::string& service) {
  const bool draining = context.draining.load();
  if (service == "liveness" || service == "grpc.health.v1.Health") return true;
  if (service.empty() || service == "readiness" || service == "inference.GRPCInferenceService") {
    return !draining && context.repository.AllStartedReady();
  }
  if (context.repository.Describe(service, 0).ok()) return !draining;
  for (const IndexEntry& entry : context.repository.Index()) {
    if (entry.name == service) return false;
  }
  return std::nullopt;
}

absl::StatusOr<std::string> CheckHealth(FrontendContext& context, const std::string& bytes) {
  HealthCheckRequest request;
  if (!request.ParseFromString(bytes)) {
    return absl::InvalidArgumentError("the bytes are not a HealthCheckRequest");
  }
  const std::optional<bool> serving = IsServing(context, request.service());
  if (!serving) {
    return absl::NotFoundError(absl::StrCat("there is no service ", Quoted(request.service())));
  }
  HealthCheckResponse response;
  response.set_status(*serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
  return response.SerializeAsString();
}

namespace {

// All state is the loop's thread's, except where said.
class HealthWatch final : public CallHandler {
 public:
  HealthWatch(GenericCall& call, WatchList& list)
      : call_(call), entry_(list, call, [this] { Look(); }) {}

  void OnStart() override { call_.Read(); }

  void OnMessage(grpc::ByteBuffer& message) override {
    HealthCheckRequest request;
    if (!request.ParseFromString(ToString(message))) {
      Finish(absl::InvalidArgumentError("the bytes are not a HealthCheckRequest"));
      return;
    }
    service_ = request.service();
    Look();
  }

  void OnHalfClose() override {
    if (!service_) Finish(absl::InvalidArgumentError("the call has no message"));
  }

  void OnWritten(bool ok) override {
    writing_ = false;
    if (ok) Look();
  }

  void OnOver(bool cancelled) override {
    if (cancelled) Finish(absl::CancelledError("the client cancelled the watch"));
  }

  void OnShutdown() override { Finish(absl::UnavailableError("the server is shutting down")); }

 private:
  // Sends the status if it is not the one that was sent last.
  void Look() {
    if (!service_ || writing_ || finished_) return;
    const std::optional<bool> serving = IsServing(call_.context(), *service_);
    const int status = !serving   ? HealthCheckResponse::SERVICE_UNKNOWN
                       : *serving ? HealthCheckResponse::SERVING
                                  : HealthCheckResponse::NOT_SERVING;
    if (status == sent_) return;
    sent_ = status;
    writing_ = true;
    HealthCheckResponse response;
    response.set_status(static_cast<HealthCheckResponse::ServingStatus>(status));
    call_.Write(ToByteBuffer(response.SerializeAsString()));
  }

  void Finish(const absl::Status& status) {
    if (finished_) return;
    finished_ = true;
    call_.Finish(status);
  }

  GenericCall& call_;
  std::optional<std::string> service_;
  int sent_ = -1;
  bool writing_ = false;
  bool finished_ = false;
  WatchEntry entry_;
};

}  // namespace

std::unique_ptr<CallHandler> CreateHealthWatch(GenericCall& call, WatchList& list) {
  return std::make_unique<HealthWatch>(call, list);
}

}  // namespace bitmill
