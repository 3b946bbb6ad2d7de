// One inference request from its bytes to the bytes of its answer, whichever call carried it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "server/engine/engine.h"
#include "server/frontend/bind_request.h"
#include "server/frontend/frontend_context.h"
#include "server/metrics/answer_tap.h"
#include "server/metrics/request_record.h"
#include "server/metrics/trace_id.h"
#include "server/tracing/trace_context.h"
#include "server/tracing/traced_request.h"

namespace bitmill {

class InferJob {
 public:
  explicit InferJob(FrontendContext& context) : context_(context) {}
  ~InferJob();
  InferJob(const InferJob&) = delete;
  InferJob& operator=(const InferJob&) = delete;

  // Decodes and checks the message, lays out the answer and fills in the task, but for its `done`
  // and `cancelled`. On an error there is no task, and Finish must be called with it.
  absl::Status Prepare(grpc::ByteBuffer& message, MonotonicNanos received_ns,
                       MonotonicNanos deadline_ns, bool in_stream);

  // After Prepare returned an error, and with the task filled in. True when the model is evicted:
  // the request waits for it to be loaded, holding no thread, and then goes to the engine or to
  // `done`, which may be before this returns. False: the error stands.
  bool WaitForModel(const absl::Status& error);

  // What the request's caller says of its trace: decides whether the request is traced. Before
  // Prepare; `method` lives for ever.
  void BeginTrace(const std::optional<TraceContext>& caller, const char* method);
  // The trace that the request is a part of, sampled by us or its caller; none: empty.
  const TraceId& trace_id() const { return trace_; }

  // From sent to received, by the client's word, for Finish; -1: not told.
  void SetTransit(int64_t ns) { transit_ns_ = ns; }

  InferTask& task() { return task_; }
  // Of the request, as far as it could be read; valid until the job is gone.
  std::string_view id() const { return id_; }
  std::string_view model_name() const { return model_name_; }

  // Records what happened, drops the model's handle. Call it once, before the answer is sent. The
  // answer of a model that is watched is shown to its tap when the job is destroyed, which is after
  // it was handed to the transport.
  void Finish(const absl::Status& status);
  // The transport has taken the answer, or the client is gone: tells the performance analysis.
  void Written();

  // The answer, after success.
  grpc::ByteBuffer TakeResponse();

 private:
  absl::Status Account(int64_t bytes);
  // Finds the model, checks the request against it, lays out the answer.
  absl::Status Bind(const InferRequestView& view);
  void Resume(const absl::Status& woken);
  void WaitForRoom() const;
  void ShowAnswer() const;
  absl::Status LayOutResponse(const InferRequestView& view, bool in_stream);
  void EndTrace(const absl::Status& status, MonotonicNanos now);

  FrontendContext& context_;
  grpc::Slice request_;
  grpc::Slice response_;
  std::string_view id_, model_name_;
  BoundRequest bound_;
  absl::InlinedVector<std::byte*, 4> outputs_;           // [output of the signature]
  std::vector<std::unique_ptr<std::byte[]>> discarded_;  // outputs that nobody asked for
  InferTask task_;
  TraceId trace_;
  std::unique_ptr<TracedRequest> traced_;  // null: it is not traced by us
  ModelMetrics* metrics_ = nullptr;        // once the model is known
  RequestRecord record_;                   // of a request whose model is known
  int64_t transit_ns_ = -1;
  int64_t accounted_bytes_ = 0;
  bool in_stream_ = false;
  int waits_ = 0;                        // for the model; it may be evicted again
  MonotonicNanos waiting_since_ns_ = 0;  // for the model to be loaded; 0: it was there
  MonotonicNanos resumed_ns_ = 0;        // when it was
  // Where the answer is watched; the memory that task_ points to then lives as long as the job.
  std::shared_ptr<AnswerTap> tap_;
  MonotonicNanos answered_ns_ = 0;
};

}  // namespace bitmill
