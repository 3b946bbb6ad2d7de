#include "server/frontend/unary_call.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace bitmill {
namespace {

class UnaryCall final : public CallHandler {
 public:
  UnaryCall(GenericCall& call, const UnaryRpc& rpc, ControlThread& control)
      : call_(call), rpc_(rpc), control_(control) {}

  void OnStart() override { call_.Read(); }

  void OnMessage(grpc::ByteBuffer& message) override {
    std::string request = ToString(message);
    if (!rpc_.may_take_long) {
      Answer(rpc_.run(call_.context(), request));
      return;
    }
    call_.Ref();
    const bool accepted = control_.TryPost([this, moved = std::move(request)] {
      Answer(rpc_.run(call_.context(), moved));
      call_.Unref();
    });
    if (accepted) return;
    Answer(absl::ResourceExhaustedError("too many model control requests wait already"));
    call_.Unref();
  }

  void OnHalfClose() override { Answer(absl::InvalidArgumentError("the call has no message")); }

 private:
  void Answer(const absl::StatusOr<std::string>& answer) {
    if (answer.ok()) {
      call_.WriteAndFinish(ToByteBuffer(*answer));
    } else {
      call_.Finish(answer.status());
    }
  }

  GenericCall& call_;
  const UnaryRpc& rpc_;
  ControlThread& control_;
};

}  // namespace

std::unique_ptr<CallHandler> CreateUnaryCall(GenericCall& call, const UnaryRpc& rpc,
                                             ControlThread& control) {
  return std::make_unique<UnaryCall>(call, rpc, control);
}

}  // namespace bitmill
