#include "server/frontend/infer_job.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "grpc/slice.h"
#include "server/frontend/infer_request.h"
#include "server/frontend/infer_response.h"
#include "server/frontend/utf8.h"
#include "server/tracing/tracer.h"

namespace bitmill {
namespace {

constexpr size_t kTracedReasonBytes = 256;
// The model is held while those who waited go on: more than one wait is an unload in between.
constexpr int kMaxWaits = 3;
constexpr absl::Duration kLookForRoom = absl::Microseconds(200);

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// The received message as one piece of memory: usually it is one, otherwise it is copied once.
bool Flatten(grpc::ByteBuffer& message, grpc::Slice& slice) {
  return message.TrySingleSlice(&slice).ok() || message.DumpToSingleSlice(&slice).ok();
}

}  // namespace

InferJob::~InferJob() {
  if (tap_ != nullptr) ShowAnswer();
  if (accounted_bytes_ != 0) {
    context_.in_flight_bytes.fetch_sub(accounted_bytes_, std::memory_order_relaxed);
  }
}

absl::Status InferJob::Account(int64_t bytes) {
  accounted_bytes_ += bytes;
  const int64_t before = context_.in_flight_bytes.fetch_add(bytes, std::memory_order_relaxed);
  if (before > 0 && before + bytes > context_.options.max_in_flight_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("requests being served already hold ", before, " bytes; this one needs ",
                     bytes, " more, the limit is ", context_.options.max_in_flight_bytes));
  }
  return absl::OkStatus();
}

absl::Status InferJob::Prepare(grpc::ByteBuffer& message, MonotonicNanos received_ns,
                               MonotonicNanos deadline_ns, bool in_stream) {
  in_stream_ = in_stream;
  task_.received_ns = received_ns;
  task_.deadline_ns = deadline_ns;
  if (!Flatten(message, request_)) return absl::InvalidArgumentError("the message is not readable");
  message.Clear();
  InferRequestView view;
  const absl::Status parsed =
      ParseInferRequest({reinterpret_cast<const char*>(request_.begin()), request_.size()}, view);
  id_ = view.id;
  model_name_ = view.model_name;
  BITMILL_RETURN_IF_ERROR(parsed);
  BITMILL_RETURN_IF_ERROR(Account(static_cast<int64_t>(request_.size())));
  if (view.model_name.empty()) return absl::InvalidArgumentError("model_name is empty");
  return Bind(view);
}

absl::Status InferJob::Bind(const InferRequestView& view) {
  BITMILL_ASSIGN_OR_RETURN(const int64_t version,
                           ParseVersion(View(view.model_name), View(view.model_version)));
  BITMILL_ASSIGN_OR_RETURN(task_.model, context_.repository.Find(View(view.model_name), version));
  const ServedModel& model = *task_.model;
  model.Use(task_.received_ns);
  metrics_ = &context_.engine.MetricsOf(model);
  metrics_->in_system.Enter(task_.received_ns);

  const Signature& signature = model.executable->signature();
  const RequestLimits limits{
      .max_rows = std::min(model.settings.batch.max_rows, model.executable->max_rows())};
  BITMILL_ASSIGN_OR_RETURN(bound_, BindRequest(view, signature, limits));
  task_.rows = bound_.rows;
  task_.priority = bound_.priority;
  task_.timeout_us = bound_.timeout_us;
  const MonotonicNanos decoded_ns = context_.clock.Now();
  BITMILL_RETURN_IF_ERROR(LayOutResponse(view, in_stream_));
  task_.inputs = bound_.inputs;
  task_.outputs = outputs_;
  task_.queued_ns = context_.clock.Now();
  task_.times[Stage::kDecode] = decoded_ns - task_.received_ns;
  task_.times[Stage::kEncode] = task_.queued_ns - decoded_ns;
  if (waiting_since_ns_ != 0) {  // what it waited for its model, it has been in the queue
    const int64_t waited_ns = resumed_ns_ - waiting_since_ns_;
    task_.times[Stage::kDecode] -= waited_ns;
    task_.queued_ns -= waited_ns;
  }
  return absl::OkStatus();
}

bool InferJob::WaitForModel(const absl::Status& error) {
  if (!absl::IsUnavailable(error) || task_.model != nullptr || model_name_.empty()) return false;
  if (++waits_ > kMaxWaits) return false;
  if (waiting_since_ns_ == 0) waiting_since_ns_ = context_.clock.Now();
  return context_.repository.Wake(View(model_name_),
                                  [this](const absl::Status& woken) { Resume(woken); });
}

void InferJob::Resume(const absl::Status& woken) {
  resumed_ns_ = context_.clock.Now();
  absl::Status status = woken;
  if (status.ok()) {
    InferRequestView view;  // was read without an error before
    status =
        ParseInferRequest({reinterpret_cast<const char*>(request_.begin()), request_.size()}, view);
    if (status.ok()) status = Bind(view);
    if (WaitForModel(status)) return;
  }
  if (!status.ok()) {
    task_.done(task_, status);
    return;
  }
  WaitForRoom();
  context_.engine.Submit(task_, /*may_run_inline=*/false);
}

// Those who waited come all at once, and more of them than the queue takes: they take their turn,
// on a thread that serves nobody else.
void InferJob::WaitForRoom() const {
  const int64_t limit = std::max<int64_t>(1, task_.model->settings.batch.max_queue_requests / 2);
  while (metrics_->queue_depth.load(std::memory_order_relaxed) >= limit &&
         (task_.deadline_ns == 0 || context_.clock.Now() < task_.deadline_ns)) {
    absl::SleepFor(kLookForRoom);
  }
}

absl::Status InferJob::LayOutResponse(const InferRequestView& view, bool in_stream) {
  const ServedModel& model = *task_.model;
  const Signature& signature = model.executable->signature();
  char version[24];
  const auto end = std::to_chars(std::begin(version), std::end(version), model.version).ptr;
  const ResponseParts parts{
      .model_name = model.name,
      .model_version = absl::string_view(version, static_cast<size_t>(end - version)),
      .id = View(view.id),
      .signature = &signature,
      .outputs = bound_.outputs,
      .rows = bound_.rows,
      .in_stream = in_stream};
  const std::optional<int64_t> bytes = ResponseBytes(parts);
  if (!bytes) return absl::InvalidArgumentError("the answer would be larger than 2 GiB");
  BITMILL_RETURN_IF_ERROR(Account(*bytes));

  response_ = grpc::Slice(static_cast<size_t>(*bytes));
  // Nobody else has this memory yet, so that it may be written.
  auto* const memory = reinterpret_cast<std::byte*>(const_cast<uint8_t*>(response_.begin()));
  absl::InlinedVector<std::byte*, 4> places(bound_.outputs.size());
  EncodeResponse(parts, absl::MakeSpan(memory, static_cast<size_t>(*bytes)),
                 absl::MakeSpan(places));
  outputs_.assign(signature.outputs.size(), nullptr);
  for (size_t k = 0; k < places.size(); ++k) {
    outputs_[static_cast<size_t>(bound_.outputs[k])] = places[k];
  }
  if (places.size() == outputs_.size()) return absl::OkStatus();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (outputs_[i] != nullptr) continue;
    const std::optional<int64_t> size = CheckedMul(bound_.rows, signature.outputs[i].row_bytes);
    if (!size) return absl::InvalidArgumentError("the outputs are too large");
    BITMILL_RETURN_IF_ERROR(Account(*size));
    discarded_.push_back(std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(*size)));
    outputs_[i] = discarded_.back().get();
  }
  return absl::OkStatus();
}

void InferJob::Finish(const absl::Status& status) {
  const MonotonicNanos now = context_.clock.Now();
  if (task_.computed_ns != 0) task_.times[Stage::kSplit] = now - task_.computed_ns;
  if (metrics_ == nullptr) {
    context_.metrics.RecordRejected(status.code());
  } else {
    const int64_t total_ns = now - task_.received_ns;
    metrics_->RecordRequest(status.code(), total_ns, task_.rows, task_.times);
    if (!trace_.empty()) metrics_->RecordExemplar(total_ns, trace_);
    metrics_->in_system.Leave(now);
    record_ = {.received_ns = task_.received_ns,
               .total_ns = total_ns,
               .stages = task_.times,
               .formation_ns = task_.formation_ns,
               .transit_ns = transit_ns_,
               .rows = static_cast<int32_t>(task_.rows),
               .batch_rows = static_cast<int32_t>(task_.batch_rows),
               .input_bytes = static_cast<uint32_t>(request_.size()),
               .output_bytes = static_cast<uint32_t>(response_.size()),
               .model = metrics_->id(),
               .code = static_cast<uint8_t>(status.code()),
               .closed = task_.closed};
  }
  if (traced_ != nullptr) EndTrace(status, now);
  if (status.ok() && task_.model->tap != nullptr) {
    tap_ = task_.model->tap;
    answered_ns_ = now;
  }
  task_.model.reset();
}

void InferJob::BeginTrace(const std::optional<TraceContext>& caller, const char* method) {
  if (caller && caller->sampled) trace_ = caller->trace;
  if (context_.services.tracer == nullptr) return;
  traced_ = context_.services.tracer->Begin(caller, method);
  if (traced_ != nullptr) trace_ = traced_->trace;
}

void InferJob::EndTrace(const absl::Status& status, MonotonicNanos now) {
  TracedRequest& traced = *traced_;
  traced.received_ns = task_.received_ns;
  traced.queued_ns = task_.queued_ns;
  traced.computed_ns = task_.computed_ns;
  traced.finished_ns = now;
  traced.stages = task_.times;
  if (task_.model != nullptr) {
    traced.model = task_.model->name;
    traced.version = task_.model->version;
    traced.rows = task_.rows;
  }
  if (task_.computed_ns != 0) {
    traced.batch_rows = task_.batch_rows;
    traced.batch_closed = kBatchClosedNames[static_cast<size_t>(task_.closed)];
  }
  traced.code = status.code();
  const absl::string_view reason = status.message().substr(0, kTracedReasonBytes);
  // Cutting may have broken a character; protobuf takes only whole ones.
  if (IsValidUtf8({reason.data(), reason.size()})) traced.error = std::string(reason);
  context_.services.tracer->End(std::move(traced_));
}

void InferJob::Written() {
  if (metrics_ == nullptr || context_.services.log == nullptr) return;
  record_.write_ns = context_.clock.Now() - record_.received_ns - record_.total_ns;
  context_.services.log->Add(record_);
}

void InferJob::ShowAnswer() const {
  tap_->OnAnswer({.request_id = View(id_),
                  .rows = task_.rows,
                  .inputs = task_.inputs,
                  .outputs = task_.outputs,
                  .answered_ns = answered_ns_,
                  .serve_ns = task_.computed_ns - task_.queued_ns});
}

grpc::ByteBuffer InferJob::TakeResponse() {
  grpc::ByteBuffer buffer(&response_, 1);
  if (tap_ == nullptr) response_ = grpc::Slice();  // the buffer has a reference of its own
  return buffer;
}

}  // namespace bitmill
