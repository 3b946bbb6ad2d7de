#include "server/tracing/otlp_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "proto/otlp_trace.pb.h"
#include "server/tracing/trace_context.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kSeed = 42;

// Received at 1000, queued at 1100, computed from 1500 to 1800, answered at 1900.
TracedRequest MakeRequest(uint64_t span, int64_t rows, int64_t batch_rows) {
  TracedRequest request;
  request.trace = {.high = 7, .low = span};
  request.span = span;
  request.parent_span = 99;
  request.state = "vendor=x";
  request.method = "ModelInfer";
  request.unix_minus_monotonic_ns = 1'000'000;
  request.received_ns = 1000;
  request.queued_ns = 1100;
  request.computed_ns = 1800;
  request.finished_ns = 1900;
  request.stages[Stage::kDecode] = 60;
  request.stages[Stage::kEncode] = 40;
  request.stages[Stage::kQueue] = 300;
  request.stages[Stage::kSchedule] = 50;
  request.stages[Stage::kAssemble] = 20;
  request.stages[Stage::kCompute] = 300;
  request.stages[Stage::kSplit] = 100;
  request.model = "m";
  request.version = 3;
  request.rows = rows;
  request.batch_rows = batch_rows;
  request.batch_closed = "full";
  return request;
}

std::vector<otlp::Span> Spans(const std::vector<TracedRequest>& requests) {
  const ExportMessage message = MakeExportMessage(requests, {}, kSeed);
  otlp::ExportTraceServiceRequest parsed;
  EXPECT_TRUE(parsed.ParseFromString(message.bytes));
  const auto& spans = parsed.resource_spans(0).scope_spans(0).spans();
  EXPECT_EQ(message.spans, spans.size());
  return {spans.begin(), spans.end()};
}

std::vector<std::string> Names(const std::vector<otlp::Span>& spans) {
  std::vector<std::string> names;
  for (const otlp::Span& span : spans) names.push_back(span.name());
  return names;
}

std::map<std::string, std::string> Attributes(const otlp::Span& span) {
  std::map<std::string, std::string> attributes;
  for (const otlp::KeyValue& attribute : span.attributes()) {
    attributes[attribute.key()] = attribute.value().has_int_value()
                                      ? std::to_string(attribute.value().int_value())
                                      : attribute.value().string_value();
  }
  return attributes;
}

TEST(OtlpMessagesTest, SaysWhichProcessMadeTheSpans) {
  const ExportMessage message =
      MakeExportMessage({}, {.service_name = "s", .instance_id = "i", .host_name = ""}, kSeed);
  otlp::ExportTraceServiceRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(message.bytes));
  std::vector<std::string> keys;
  for (const auto& attribute : parsed.resource_spans(0).resource().attributes()) {
    keys.push_back(attribute.key());
  }
  EXPECT_THAT(keys, ElementsAre("service.name", "service.version", "service.instance.id"));
  EXPECT_EQ(message.spans, 0);
}

TEST(OtlpMessagesTest, ARequestIsAChildOfItsCallersSpan) {
  const std::vector<otlp::Span> spans = Spans({MakeRequest(5, 2, 2)});
  const otlp::Span& request = spans[0];
  EXPECT_EQ(request.name(), "inference.GRPCInferenceService/ModelInfer");
  EXPECT_EQ(request.kind(), otlp::Span::KIND_SERVER);
  EXPECT_EQ(request.trace_id(), TraceIdBytes({.high = 7, .low = 5}));
  EXPECT_EQ(request.span_id(), SpanIdBytes(5));
  EXPECT_EQ(request.parent_span_id(), SpanIdBytes(99));
  EXPECT_EQ(request.trace_state(), "vendor=x");
  EXPECT_EQ(request.flags(), 0x301U);
  EXPECT_EQ(request.start_time_unix_nano(), 1'001'000U);
  EXPECT_EQ(request.end_time_unix_nano(), 1'001'900U);
  EXPECT_FALSE(request.has_status());
  const std::map<std::string, std::string> wanted = {
      {"rpc.system", "grpc"},         {"rpc.service", "inference.GRPCInferenceService"},
      {"rpc.method", "ModelInfer"},   {"rpc.grpc.status_code", "0"},
      {"bitmill.code", "OK"},         {"bitmill.model.name", "m"},
      {"bitmill.model.version", "3"}, {"bitmill.rows", "2"},
      {"bitmill.batch.rows", "2"}};
  EXPECT_EQ(Attributes(request), wanted);
}

TEST(OtlpMessagesTest, ItsStagesFollowEachOtherWithinIt) {
  const std::vector<otlp::Span> spans = Spans({MakeRequest(5, 2, 2)});
  EXPECT_THAT(Names(spans),
              ElementsAre("inference.GRPCInferenceService/ModelInfer", "decode", "encode", "queue",
                          "schedule", "assemble", "compute", "split"));
  std::set<std::string> ids;
  uint64_t last_end = spans[0].start_time_unix_nano();
  for (const otlp::Span& span : spans) {
    ids.insert(span.span_id());
    if (&span == &spans[0]) continue;
    EXPECT_EQ(span.parent_span_id(), spans[0].span_id()) << span.name();
    EXPECT_EQ(span.trace_id(), spans[0].trace_id()) << span.name();
    EXPECT_GE(span.start_time_unix_nano(), last_end) << span.name();
    last_end = span.end_time_unix_nano();
    EXPECT_THAT(span.links(), IsEmpty());
  }
  EXPECT_EQ(last_end, spans[0].end_time_unix_nano());
  EXPECT_EQ(ids.size(), spans.size());
  EXPECT_EQ(spans[6].start_time_unix_nano(), 1'001'500U);
  EXPECT_EQ(spans[6].end_time_unix_nano(), 1'001'800U);
}

TEST(OtlpMessagesTest, ABatchLinksToItsRequestsAndTheyToIt) {
  std::vector<TracedRequest> requests = {MakeRequest(5, 2, 6), MakeRequest(6, 3, 6),
                                         MakeRequest(8, 1, 1)};
  requests[2].computed_ns = 1850;  // an execution of its own
  const std::vector<otlp::Span> spans = Spans(requests);
  const otlp::Span& batch = spans.back();
  EXPECT_EQ(batch.name(), "batch");
  EXPECT_TRUE(batch.parent_span_id().empty());
  EXPECT_EQ(batch.start_time_unix_nano(), 1'001'480U);
  EXPECT_EQ(batch.end_time_unix_nano(), 1'001'800U);
  const std::map<std::string, std::string> wanted = {{"bitmill.model.name", "m"},
                                                     {"bitmill.model.version", "3"},
                                                     {"bitmill.batch.rows", "6"},
                                                     {"bitmill.batch.closed", "full"},
                                                     {"bitmill.batch.traced_requests", "2"}};
  EXPECT_EQ(Attributes(batch), wanted);
  ASSERT_EQ(batch.links_size(), 2);
  EXPECT_EQ(batch.links(0).trace_id(), TraceIdBytes({.high = 7, .low = 5}));
  EXPECT_EQ(batch.links(0).span_id(), SpanIdBytes(5));
  EXPECT_EQ(batch.links(1).span_id(), SpanIdBytes(6));
  int linked = 0;
  for (const otlp::Span& span : spans) {
    if (span.name() != "compute" || span.links_size() == 0) continue;
    EXPECT_EQ(span.links(0).trace_id(), batch.trace_id());
    EXPECT_EQ(span.links(0).span_id(), batch.span_id());
    ++linked;
  }
  EXPECT_EQ(linked, 2);
}

TEST(OtlpMessagesTest, ARequestThatFailedHasNoStagesThatItDidNotReach) {
  TracedRequest request;
  request.trace = {.high = 1, .low = 1};
  request.span = 4;
  request.method = "ModelInfer";
  request.received_ns = 1000;
  request.finished_ns = 1010;
  request.code = absl::StatusCode::kNotFound;
  request.error = "there is no such model";
  std::vector<otlp::Span> spans = Spans({request});
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_EQ(spans[0].status().code(), otlp::Status::CODE_ERROR);
  EXPECT_EQ(spans[0].status().message(), "there is no such model");
  EXPECT_EQ(spans[0].flags(), 0x101U);
  EXPECT_TRUE(spans[0].parent_span_id().empty());
  EXPECT_EQ(Attributes(spans[0]).count("bitmill.model.name"), 0U);
  EXPECT_EQ(Attributes(spans[0])["bitmill.code"], "NOT_FOUND");

  request.queued_ns = 1005;
  request.stages[Stage::kQueue] = 5;
  request.code = absl::StatusCode::kDeadlineExceeded;
  spans = Spans({request});
  EXPECT_THAT(Names(spans), ElementsAre("inference.GRPCInferenceService/ModelInfer", "queue"));
}

}  // namespace
}  // namespace bitmill
