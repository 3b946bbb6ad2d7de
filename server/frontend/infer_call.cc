#include "server/frontend/infer_call.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "grpcpp/impl/rpc_service_method.h"
#include "server/frontend/call_deadline.h"
#include "server/frontend/call_transit.h"
#include "server/frontend/caller_trace.h"
#include "server/frontend/load_report.h"
#include "server/frontend/status_map.h"

namespace bitmill {
RawInferService::RawInferService() {
  AddMethod(new grpc::internal::RpcServiceMethod("/inference.GRPCInferenceService/ModelInfer",
                                                 grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
  MarkMethodRaw(0);
}

void RawInferService::Request(grpc::ServerContext* context, grpc::ByteBuffer* message,
                              grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer,
                              grpc::ServerCompletionQueue* queue, void* tag) {
  RequestAsyncUnary(0, context, message, writer, queue, queue, tag);
}

void InferCall::Listen(FrontendContext& context, RawInferService& service, IoLoop& loop) {
  new InferCall(context, service, loop);
}

InferCall::InferCall(FrontendContext& context, RawInferService& service, IoLoop& loop)
    : context_(context), service_(service), loop_(loop), job_(context) {
  loop_.CallAdded();
  server_context_.AsyncNotifyWhenDone(IoLoop::Tag(on_over_));
  service_.Request(&server_context_, &message_, &writer_, loop_.queue(), IoLoop::Tag(on_received_));
}

void InferCall::OnReceived(bool ok) {
  if (!ok) {  // the server is shutting down; the call never began, so nothing else will come
    events_left_ = 1;
    Release();
    return;
  }
  const MonotonicNanos now = context_.clock.Now();
  job_.SetTransit(TransitOf(server_context_, context_.clock));
  Listen(context_, service_, loop_);
  job_.BeginTrace(CallerTrace(server_context_), "ModelInfer");
  const absl::Status status =
      job_.Prepare(message_, now, DeadlineOf(server_context_, now), /*in_stream=*/false);
  InferTask& task = job_.task();
  task.cancelled = &cancelled_;
  task.owner = this;
  task.done = &InferCall::OnTaskDone;
  if (status.ok()) {
    loop_.Gather(task);
  } else if (!job_.WaitForModel(status)) {
    Answer(status);
  }
}

void InferCall::OnTaskDone(InferTask& task, const absl::Status& status) {
  static_cast<InferCall*>(task.owner)->Answer(status);
}

// On any thread.
void InferCall::Answer(const absl::Status& status) {
  job_.Finish(status);
  if (context_.options.load_reports >= LoadReports::kAsked) {
    AddLoadReport(context_.options.load_reports, context_.load, server_context_);
  }
  if (status.ok()) {
    writer_.Finish(job_.TakeResponse(), grpc::Status::OK, IoLoop::Tag(on_finished_));
    return;
  }
  if (const std::optional<int64_t> millis = RetryAfterMillis(status)) {
    server_context_.AddTrailingMetadata("grpc-retry-pushback-ms", absl::StrCat(*millis));
  }
  writer_.FinishWithError(ToGrpcStatus(status), IoLoop::Tag(on_finished_));
}

void InferCall::OnFinished(bool /*ok*/) {
  job_.Written();
  Release();
}

void InferCall::OnOver(bool /*ok*/) {
  if (server_context_.IsCancelled()) cancelled_.store(true, std::memory_order_relaxed);
  Release();
}

void InferCall::Release() {
  if (--events_left_ > 0) return;
  loop_.CallRemoved();
  delete this;
}

}  // namespace bitmill
