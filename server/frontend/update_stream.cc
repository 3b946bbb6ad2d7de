#include "server/frontend/update_stream.h"

#include <utility>

#include "base/clock.h"

namespace bitmill {
namespace {

// States come about once a second: one that comes so much early still counts.
constexpr double kSlackSeconds = 0.2;

// All state is the loop's thread's.
class UpdateStream final : public CallHandler {
 public:
  UpdateStream(GenericCall& call, WatchList& list, std::unique_ptr<UpdateSource> source)
      : call_(call), source_(std::move(source)), entry_(list, call, [this] { Look(); }) {}

  void OnStart() override {
    if (entry_.accepted()) {
      call_.Read();
    } else {
      Finish(absl::ResourceExhaustedError("too many clients watch already"));
    }
  }

  void OnMessage(grpc::ByteBuffer& message) override {
    if (finished_) return;
    const absl::StatusOr<double> period = source_->Open(ToString(message));
    if (!period.ok()) {
      Finish(period.status());
      return;
    }
    period_seconds_ = *period;
    Look();
  }

  void OnHalfClose() override {
    if (!period_seconds_) Finish(absl::InvalidArgumentError("the call has no message"));
  }

  void OnWritten(bool ok) override {
    writing_ = false;
    if (ok) Look();
  }

  void OnOver(bool cancelled) override {
    if (cancelled) Finish(absl::CancelledError("the client cancelled the call"));
  }

  void OnShutdown() override { Finish(absl::UnavailableError("the server is shutting down")); }

 private:
  // Sends the newest state, if its time has come.
  void Look() {
    if (!period_seconds_ || writing_ || finished_) return;
    const MonotonicNanos now = call_.context().clock.Now();
    if (sent_ns_ &&
        static_cast<double>(now - *sent_ns_) * 1e-9 < *period_seconds_ - kSlackSeconds) {
      return;
    }
    const std::optional<std::string> newest = source_->Next();
    if (!newest) return;
    sent_ns_ = now;
    writing_ = true;
    call_.Write(ToByteBuffer(*newest));
  }

  void Finish(const absl::Status& status) {
    if (finished_) return;
    finished_ = true;
    call_.Finish(status);
  }

  GenericCall& call_;
  const std::unique_ptr<UpdateSource> source_;
  std::optional<double> period_seconds_;   // once the request was read
  std::optional<MonotonicNanos> sent_ns_;  // the last message
  bool writing_ = false;
  bool finished_ = false;
  WatchEntry entry_;
};

}  // namespace

std::unique_ptr<CallHandler> CreateUpdateStream(GenericCall& call, WatchList& list,
                                                std::unique_ptr<UpdateSource> source) {
  return std::make_unique<UpdateStream>(call, list, std::move(source));
}

}  // namespace bitmill
