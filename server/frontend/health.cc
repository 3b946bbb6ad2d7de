#include "server/frontend/health.h"

#include <atomic>
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
  if (context.repository.Find(service, 0).ok()) return !draining;
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

// All state is the loop's thread's, except where said.
class HealthWatch final : public CallHandler {
 public:
  HealthWatch(GenericCall& call, HealthWatchers& watchers) : call_(call), watchers_(watchers) {}
  ~HealthWatch() override { watchers_.Remove(this); }

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

  // Looks soon, on the loop's thread; changes that come faster than that are seen in one look.
  // Thread-safe under the watchers' lock, which holds up the destructor.
  void LookSoon() {
    if (look_posted_.exchange(true)) return;
    // The call cannot end before the posted function has run, unless it is ending: then its loop's
    // thread waits for the lock to remove the watch.
    if (!call_.TryRef()) return;
    call_.loop().Post([this] {
      look_posted_ = false;
      Look();
      call_.Unref();
    });
  }

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
  HealthWatchers& watchers_;
  std::optional<std::string> service_;
  int sent_ = -1;
  bool writing_ = false;
  bool finished_ = false;
  std::atomic<bool> look_posted_{false};
};

std::unique_ptr<CallHandler> HealthWatchers::Create(GenericCall& call) {
  auto watch = std::make_unique<HealthWatch>(call, *this);
  MutexLock lock(&mutex_);
  open_.insert(watch.get());
  return watch;
}

void HealthWatchers::Notify() {
  MutexLock lock(&mutex_);
  if (closed_) return;
  for (HealthWatch* const watch : open_) watch->LookSoon();
}

void HealthWatchers::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
}

void HealthWatchers::Remove(HealthWatch* watch) {
  MutexLock lock(&mutex_);
  open_.erase(watch);
}

}  // namespace bitmill
