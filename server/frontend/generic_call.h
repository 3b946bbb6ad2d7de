// Every call but ModelInfer: a stream of byte messages in both directions (a unary call is a stream
// of one), served by a handler that its method name selects.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/frontend/frontend_context.h"
#include "server/frontend/io_loop.h"

namespace bitmill {

class GenericCall;

// Serves one call; owned by it. All functions are called on the loop's thread.
class CallHandler : public LongCall {
 public:
  virtual ~CallHandler() = default;
  virtual void OnStart() = 0;
  // The message that Read() asked for.
  virtual void OnMessage(grpc::ByteBuffer& message) = 0;
  // The client sends no more (or is gone).
  virtual void OnHalfClose() = 0;
  // The message of Write() is on its way. Not called for the last one.
  virtual void OnWritten(bool /*ok*/) {}
  // The call is over. `cancelled`: before it was finished.
  virtual void OnOver(bool /*cancelled*/) {}
  void OnShutdown() override {}
};

// Null for a method that is not there.
using HandlerFactory =
    std::function<std::unique_ptr<CallHandler>(const std::string& method, GenericCall& call)>;

class GenericCall {
 public:
  static void Listen(FrontendContext& context, grpc::AsyncGenericService& service, IoLoop& loop,
                     const HandlerFactory& factory);

  // At most one Read and one Write at a time; after Finish nothing. On any thread, while the
  // handler runs or a Ref is held.
  void Read();
  void Write(const grpc::ByteBuffer& message);
  void WriteAndFinish(const grpc::ByteBuffer& message);
  void Finish(const absl::Status& status);
  // Keeps the call for work that goes on elsewhere. Thread-safe.
  void Ref() { references_.fetch_add(1, std::memory_order_relaxed); }
  // False, and nothing done, when the call is ending. For threads that hold no reference, but hold
  // up the end of the handler's destructor.
  bool TryRef() {
    int references = references_.load(std::memory_order_relaxed);
    while (references > 0) {
      if (references_.compare_exchange_weak(references, references + 1,
                                            std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }
  void Unref();

  FrontendContext& context() { return context_; }
  IoLoop& loop() { return loop_; }
  const grpc::ServerContextBase& server_context() const { return server_context_; }

 private:
  GenericCall(FrontendContext& context, grpc::AsyncGenericService& service, IoLoop& loop,
              const HandlerFactory& factory);
  ~GenericCall();

  void OnAccepted(bool ok);
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);
  void OnOver(bool ok);

  FrontendContext& context_;
  grpc::AsyncGenericService& service_;
  IoLoop& loop_;
  const HandlerFactory& factory_;
  grpc::GenericServerContext server_context_;
  grpc::GenericServerAsyncReaderWriter stream_{&server_context_};
  grpc::ByteBuffer incoming_;
  std::unique_ptr<CallHandler> handler_;
  LoopCallback<GenericCall, &GenericCall::OnAccepted> on_accepted_{this};
  LoopCallback<GenericCall, &GenericCall::OnRead> on_read_{this};
  LoopCallback<GenericCall, &GenericCall::OnWritten> on_written_{this};
  LoopCallback<GenericCall, &GenericCall::OnFinished> on_finished_{this};
  LoopCallback<GenericCall, &GenericCall::OnOver> on_over_{this};
  std::atomic<int> references_{1};  // operations under way, the event that it is over, Ref()
};

// Messages as gRPC's buffers and back.
grpc::ByteBuffer ToByteBuffer(const std::string& bytes);
std::string ToString(const grpc::ByteBuffer& buffer);

}  // namespace bitmill
