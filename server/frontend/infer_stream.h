// ModelStreamInfer: many requests on one call, answered in their order. A bad request is answered
// with an error message and its id; the stream goes on. No more requests are read while
// `stream_window` of them wait for their answers, so a client that does not read holds little.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "base/mutex.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/frontend/generic_call.h"
#include "server/frontend/infer_job.h"

namespace bitmill {

class InferStream final : public CallHandler {
 public:
  explicit InferStream(GenericCall& call) : call_(call) {}

  void OnStart() override;
  void OnMessage(grpc::ByteBuffer& message) override;
  void OnHalfClose() override;
  void OnWritten(bool ok) override;
  void OnOver(bool cancelled) override;
  void OnShutdown() override;

 private:
  // A request that was read; its answer once that is there.
  struct Item {
    Item(InferStream& owner, FrontendContext& context) : stream(owner), job(context) {}
    InferStream& stream;
    InferJob job;
    std::optional<grpc::ByteBuffer> answer;
  };

  static void OnTaskDone(InferTask& task, const absl::Status& status);
  void Complete(Item& item, const absl::Status& status);
  // Sends what can be sent, finishes what can be finished.
  void Pump();
  void ReadIfRoom();

  GenericCall& call_;
  std::optional<TraceContext> caller_;  // the trace that the whole stream belongs to
  std::atomic<bool> cancelled_{false};
  bool first_ = true;  // these three are the loop's thread's
  bool reading_ = false;
  bool no_more_ = false;  // the client is done, or we take no more

  Mutex mutex_;
  std::deque<std::unique_ptr<Item>> waiting_ ABSL_GUARDED_BY(mutex_);  // in order
  std::unique_ptr<Item> writing_ ABSL_GUARDED_BY(mutex_);              // its answer
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;              // the client is gone
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);  // how to finish, once all is sent
};

}  // namespace bitmill
