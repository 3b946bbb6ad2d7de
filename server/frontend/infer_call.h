// ModelInfer: the one call whose cost matters. It is registered as a raw method, so that gRPC hands
// over the received bytes with the call itself: one operation to receive, one to answer.
#pragma once

#include <atomic>

#include "absl/status/status.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/async_unary_call.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/frontend/frontend_context.h"
#include "server/frontend/infer_job.h"
#include "server/frontend/io_loop.h"

namespace bitmill {

// Registers ModelInfer alone; every other method reaches the generic service.
class RawInferService final : public grpc::Service {
 public:
  RawInferService();
  void Request(grpc::ServerContext* context, grpc::ByteBuffer* message,
               grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer,
               grpc::ServerCompletionQueue* queue, void* tag);
};

// Asks for one call, serves it, asks for the next when it has come. Deletes itself.
class InferCall {
 public:
  static void Listen(FrontendContext& context, RawInferService& service, IoLoop& loop);

 private:
  InferCall(FrontendContext& context, RawInferService& service, IoLoop& loop);
  ~InferCall() = default;

  void OnReceived(bool ok);
  void OnFinished(bool ok);
  void OnOver(bool ok);  // the call is over, or the client cancelled it
  static void OnTaskDone(InferTask& task, const absl::Status& status);
  void Answer(const absl::Status& status);
  void Release();

  FrontendContext& context_;
  RawInferService& service_;
  IoLoop& loop_;
  grpc::ServerContext server_context_;
  grpc::ByteBuffer message_;
  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer_{&server_context_};
  LoopCallback<InferCall, &InferCall::OnReceived> on_received_{this};
  LoopCallback<InferCall, &InferCall::OnFinished> on_finished_{this};
  LoopCallback<InferCall, &InferCall::OnOver> on_over_{this};
  std::atomic<bool> cancelled_{false};
  int events_left_ = 2;  // finished and over
  InferJob job_;
};

}  // namespace bitmill
