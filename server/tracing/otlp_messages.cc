#include "server/tracing/otlp_messages.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "proto/otlp_trace.pb.h"
#include "server/tracing/trace_context.h"
#include "server/tracing/tracer.h"

namespace bitmill {
namespace {

constexpr char kService[] = "inference.GRPCInferenceService";
constexpr uint32_t kSampled = 1;
constexpr uint32_t kRemoteIsKnown = 0x100, kParentIsRemote = 0x200;

// Identifiers are numbered from that of the span that they belong to, so that they need no state.
enum IdOffset : uint64_t { kStageIds = 0, kBatchTraceHigh = 100, kBatchTraceLow, kBatchSpan };

uint64_t DeriveId(uint64_t seed, uint64_t span, uint64_t offset) {
  const uint64_t id = SplitMix64(seed ^ span, offset);
  return id == 0 ? 1 : id;
}

void Add(const char* key, const std::string& value, otlp::Span& span) {
  otlp::KeyValue& attribute = *span.add_attributes();
  attribute.set_key(key);
  attribute.mutable_value()->set_string_value(value);
}
void Add(const char* key, int64_t value, otlp::Span& span) {
  otlp::KeyValue& attribute = *span.add_attributes();
  attribute.set_key(key);
  attribute.mutable_value()->set_int_value(value);
}

void Add(const char* key, const std::string& value, otlp::Resource& resource) {
  if (value.empty()) return;
  otlp::KeyValue& attribute = *resource.add_attributes();
  attribute.set_key(key);
  attribute.mutable_value()->set_string_value(value);
}

void SetTimes(const TracedRequest& request, MonotonicNanos start, MonotonicNanos end,
              otlp::Span& span) {
  span.set_start_time_unix_nano(static_cast<uint64_t>(start + request.unix_minus_monotonic_ns));
  span.set_end_time_unix_nano(static_cast<uint64_t>(end + request.unix_minus_monotonic_ns));
}

void AddModel(const TracedRequest& request, otlp::Span& span) {
  if (request.model.empty()) return;
  Add("bitmill.model.name", request.model, span);
  if (request.version > 0) Add("bitmill.model.version", request.version, span);
}

void FillRequest(const TracedRequest& request, otlp::Span& span) {
  span.set_trace_id(TraceIdBytes(request.trace));
  span.set_span_id(SpanIdBytes(request.span));
  span.set_trace_state(request.state);
  const bool has_parent = request.parent_span != 0;
  if (has_parent) span.set_parent_span_id(SpanIdBytes(request.parent_span));
  span.set_flags(kSampled | kRemoteIsKnown | (has_parent ? kParentIsRemote : 0));
  span.set_name(absl::StrCat(kService, "/", request.method));
  span.set_kind(otlp::Span::KIND_SERVER);
  SetTimes(request, request.received_ns, request.finished_ns, span);
  Add("rpc.system", "grpc", span);
  Add("rpc.service", kService, span);
  Add("rpc.method", request.method, span);
  Add("rpc.grpc.status_code", static_cast<int64_t>(request.code), span);
  Add("bitmill.code", absl::StatusCodeToString(request.code), span);
  AddModel(request, span);
  if (request.rows > 0) Add("bitmill.rows", request.rows, span);
  if (request.batch_rows > 0) Add("bitmill.batch.rows", request.batch_rows, span);
  if (request.code != absl::StatusCode::kOk) {
    span.mutable_status()->set_code(otlp::Status::CODE_ERROR);
    span.mutable_status()->set_message(request.error);
  }
}

struct StageSpan {
  Stage stage;
  MonotonicNanos start = 0, end = 0;
};

// The stages that were reached, in the order of time.
std::vector<StageSpan> StagesOf(const TracedRequest& request) {
  std::vector<StageSpan> spans;
  const auto add = [&](Stage stage, MonotonicNanos start) {
    const int64_t ns = request.stages[stage];
    if (ns > 0) spans.push_back({stage, start, start + ns});
  };
  add(Stage::kDecode, request.received_ns);
  if (request.queued_ns == 0) return spans;
  add(Stage::kEncode, request.queued_ns - request.stages[Stage::kEncode]);
  add(Stage::kQueue, request.queued_ns);
  add(Stage::kSchedule, request.queued_ns + request.stages[Stage::kQueue]);
  if (request.computed_ns == 0) return spans;
  const MonotonicNanos compute_start = request.computed_ns - request.stages[Stage::kCompute];
  add(Stage::kAssemble, compute_start - request.stages[Stage::kAssemble]);
  add(Stage::kCompute, compute_start);
  add(Stage::kSplit, request.computed_ns);
  return spans;
}

// An execution that more requests than one shared, and those of them that are traced.
struct Batch {
  std::vector<const TracedRequest*> requests;
  TraceId trace;
  uint64_t span = 0;
};

// The requests of one execution have the end of its computation in common.
using BatchKey = std::tuple<std::string_view, int64_t, MonotonicNanos>;
BatchKey KeyOf(const TracedRequest& request) {
  return {request.model, request.version, request.computed_ns};
}

std::map<BatchKey, Batch> FindBatches(absl::Span<const TracedRequest> requests, uint64_t seed) {
  std::map<BatchKey, Batch> batches;
  for (const TracedRequest& request : requests) {
    if (request.computed_ns == 0 || request.batch_rows <= request.rows) continue;
    Batch& batch = batches[KeyOf(request)];
    if (batch.requests.empty()) {
      batch.trace = {.high = DeriveId(seed, request.span, kBatchTraceHigh),
                     .low = DeriveId(seed, request.span, kBatchTraceLow)};
      batch.span = DeriveId(seed, request.span, kBatchSpan);
    }
    batch.requests.push_back(&request);
  }
  return batches;
}

void FillBatch(const Batch& batch, otlp::Span& span) {
  const TracedRequest& first = *batch.requests.front();
  span.set_trace_id(TraceIdBytes(batch.trace));
  span.set_span_id(SpanIdBytes(batch.span));
  span.set_flags(kSampled | kRemoteIsKnown);
  span.set_name("batch");
  span.set_kind(otlp::Span::KIND_INTERNAL);
  SetTimes(first,
           first.computed_ns - first.stages[Stage::kCompute] - first.stages[Stage::kAssemble],
           first.computed_ns, span);
  AddModel(first, span);
  Add("bitmill.batch.rows", first.batch_rows, span);
  Add("bitmill.batch.closed", first.batch_closed, span);
  Add("bitmill.batch.traced_requests", static_cast<int64_t>(batch.requests.size()), span);
  for (const TracedRequest* const request : batch.requests) {
    otlp::Link& link = *span.add_links();
    link.set_trace_id(TraceIdBytes(request->trace));
    link.set_span_id(SpanIdBytes(request->span));
    link.set_trace_state(request->state);
  }
}

// `batch` may be null.
void FillStage(const TracedRequest& request, const StageSpan& stage, const Batch* batch,
               uint64_t seed, otlp::Span& span) {
  const auto index = static_cast<size_t>(stage.stage);
  span.set_trace_id(TraceIdBytes(request.trace));
  span.set_span_id(SpanIdBytes(DeriveId(seed, request.span, kStageIds + index)));
  span.set_trace_state(request.state);
  span.set_parent_span_id(SpanIdBytes(request.span));
  span.set_flags(kSampled | kRemoteIsKnown);
  span.set_name(kStageNames[index]);
  span.set_kind(otlp::Span::KIND_INTERNAL);
  SetTimes(request, stage.start, stage.end, span);
  if (stage.stage != Stage::kCompute) return;
  Add("bitmill.batch.rows", request.batch_rows, span);
  Add("bitmill.batch.closed", request.batch_closed, span);
  if (batch == nullptr) return;
  otlp::Link& link = *span.add_links();
  link.set_trace_id(TraceIdBytes(batch->trace));
  link.set_span_id(SpanIdBytes(batch->span));
}

}  // namespace

ExportMessage MakeExportMessage(absl::Span<const TracedRequest> requests,
                                const TraceResource& resource, uint64_t seed) {
  otlp::ExportTraceServiceRequest message;
  otlp::ResourceSpans& all = *message.add_resource_spans();
  Add("service.name", resource.service_name, *all.mutable_resource());
  Add("service.version", BITMILL_VERSION, *all.mutable_resource());
  Add("service.instance.id", resource.instance_id, *all.mutable_resource());
  Add("host.name", resource.host_name, *all.mutable_resource());
  otlp::ScopeSpans& scope = *all.add_scope_spans();
  scope.mutable_scope()->set_name("bitmill.server");
  scope.mutable_scope()->set_version(BITMILL_VERSION);
  const std::map<BatchKey, Batch> batches = FindBatches(requests, seed);
  for (const TracedRequest& request : requests) {
    FillRequest(request, *scope.add_spans());
    const auto batch = batches.find(KeyOf(request));
    for (const StageSpan& stage : StagesOf(request)) {
      FillStage(request, stage, batch == batches.end() ? nullptr : &batch->second, seed,
                *scope.add_spans());
    }
  }
  for (const auto& [key, batch] : batches) FillBatch(batch, *scope.add_spans());
  return {message.SerializeAsString(), scope.spans_size()};
}

}  // namespace bitmill
