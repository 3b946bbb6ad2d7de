#include "server/frontend/infer_stream.h"

#include <utility>

#include "server/frontend/call_deadline.h"
#include "server/frontend/call_transit.h"
#include "server/frontend/caller_trace.h"
#include "server/frontend/infer_response.h"
#include "server/frontend/status_map.h"

namespace bitmill {

void InferStream::OnStart() {
  caller_ = CallerTrace(call_.server_context());
  ReadIfRoom();
}

void InferStream::ReadIfRoom() {
  if (reading_ || no_more_) return;
  {
    MutexLock lock(&mutex_);
    if (waiting_.size() >= static_cast<size_t>(call_.context().options.stream_window)) return;
  }
  reading_ = true;
  call_.Read();
}

void InferStream::OnMessage(grpc::ByteBuffer& message) {
  reading_ = false;
  if (no_more_) return;
  const MonotonicNanos now = call_.context().clock.Now();
  auto owned = std::make_unique<Item>(*this, call_.context());
  Item& item = *owned;
  item.job.BeginTrace(caller_, "ModelStreamInfer");
  // The metadata came with the begin of the stream: they tell of the first request.
  if (std::exchange(first_, false)) {
    item.job.SetTransit(TransitOf(call_.server_context(), call_.context().clock));
  }
  const absl::Status status =
      item.job.Prepare(message, now, DeadlineOf(call_.server_context(), now), /*in_stream=*/true);
  {
    MutexLock lock(&mutex_);
    waiting_.push_back(std::move(owned));
  }
  call_.Ref();
  InferTask& task = item.job.task();
  task.cancelled = &cancelled_;
  task.owner = &item;
  task.done = &InferStream::OnTaskDone;
  if (status.ok()) {
    call_.loop().Gather(task);
  } else if (!item.job.WaitForModel(status)) {
    Complete(item, status);
  }
  ReadIfRoom();
}

void InferStream::OnHalfClose() {
  reading_ = false;
  no_more_ = true;
  {
    MutexLock lock(&mutex_);
    if (!end_) end_ = absl::OkStatus();
  }
  Pump();
}

void InferStream::OnTaskDone(InferTask& task, const absl::Status& status) {
  Item& item = *static_cast<Item*>(task.owner);
  item.stream.Complete(item, status);
}

// On any thread. The item goes away as soon as its answer is seen, so it is set last.
void InferStream::Complete(Item& item, const absl::Status& status) {
  item.job.Finish(status);
  grpc::ByteBuffer answer;
  if (status.ok()) {
    answer = item.job.TakeResponse();
  } else {
    const std::string message = ToGrpcStatus(status).error_message();
    const std::string_view model = item.job.model_name();
    const std::string_view id = item.job.id();
    answer = ToByteBuffer(
        EncodeStreamError(message, {model.data(), model.size()}, {id.data(), id.size()}));
  }
  GenericCall& call = call_;
  {
    MutexLock lock(&mutex_);
    item.answer = std::move(answer);
  }
  Pump();
  call.Unref();  // taken when the request was read
}

void InferStream::Pump() {
  Item* item = nullptr;
  absl::Status end;
  {
    MutexLock lock(&mutex_);
    if (broken_) {
      while (!waiting_.empty() && waiting_.front()->answer) waiting_.pop_front();
    }
    if (writing_ != nullptr || finished_) return;
    if (!waiting_.empty() && waiting_.front()->answer) {
      writing_ = std::move(waiting_.front());
      item = writing_.get();
      waiting_.pop_front();
    } else if (waiting_.empty() && end_) {
      finished_ = true;
      end = *end_;
    } else {
      return;
    }
  }
  if (item != nullptr) {
    call_.Write(*item->answer);
  } else {
    call_.Finish(end);
  }
}

void InferStream::OnWritten(bool ok) {
  std::unique_ptr<Item> written;
  {
    MutexLock lock(&mutex_);
    written = std::move(writing_);
    if (!ok) broken_ = true;
  }
  if (written != nullptr) written->job.Written();
  written.reset();
  ReadIfRoom();
  Pump();
}

void InferStream::OnOver(bool cancelled) {
  if (!cancelled) return;
  cancelled_.store(true, std::memory_order_relaxed);
  no_more_ = true;
  {
    MutexLock lock(&mutex_);
    broken_ = true;
    if (!end_) end_ = absl::CancelledError("the client cancelled the stream");
  }
  Pump();
}

void InferStream::OnShutdown() {
  no_more_ = true;
  {
    MutexLock lock(&mutex_);
    if (!end_) end_ = absl::UnavailableError("the server is shutting down");
  }
  Pump();
}

}  // namespace bitmill
