#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "proto/prometheus.pb.h"
#include "server/metrics/write_families.h"

namespace bitmill {
namespace {

namespace wire = io::prometheus::client;
using ::prometheus::ClientMetric;
using ::prometheus::MetricFamily;
using ::prometheus::MetricType;

void Write(const BucketExemplar& exemplar, wire::Exemplar& out) {
  wire::LabelPair& label = *out.add_label();
  label.set_name("trace_id");
  label.set_value(exemplar.trace_id);
  out.set_value(exemplar.value);
  const double seconds = std::floor(exemplar.unix_seconds);
  out.mutable_timestamp()->set_seconds(static_cast<int64_t>(seconds));
  out.mutable_timestamp()->set_nanos(
      static_cast<int32_t>(std::lround((exemplar.unix_seconds - seconds) * 1e3) * 1'000'000));
}

// Runs of buckets that are not empty, as spans; counts as differences to the bucket before.
void WriteNative(const NativeCounts& native, wire::Histogram& out) {
  out.set_schema(native.schema);
  out.set_zero_threshold(native.zero_seconds);
  out.set_zero_count(static_cast<uint64_t>(native.counts[0]));
  wire::BucketSpan* span = nullptr;
  int after_last = 0;  // index after the last one that was written
  int64_t before = 0;
  for (size_t place = 1; place < native.counts.size(); ++place) {
    const int64_t count = native.counts[place];
    if (count == 0) continue;
    const int index = native.first_index + static_cast<int>(place) - 1;
    if (span == nullptr || index != after_last) {
      span = out.add_positive_span();
      span->set_offset(index - after_last);  // the first one counts from index 0
    }
    span->set_length(span->length() + 1);
    out.add_positive_delta(count - before);
    before = count;
    after_last = index + 1;
  }
}

void Write(const ClientMetric::Histogram& histogram, const HistogramExtras* extras,
           wire::Histogram& out) {
  absl::Span<const BucketExemplar> exemplars;
  if (extras != nullptr) exemplars = extras->exemplars;
  const BucketExemplar* exemplar = exemplars.begin();
  for (size_t i = 0; i < histogram.bucket.size(); ++i) {
    wire::Bucket& bucket = *out.add_bucket();
    bucket.set_cumulative_count(histogram.bucket[i].cumulative_count);
    bucket.set_upper_bound(histogram.bucket[i].upper_bound);
    if (exemplar != exemplars.end() && exemplar->bucket == i) {
      Write(*exemplar++, *bucket.mutable_exemplar());
    }
  }
  out.set_sample_count(histogram.sample_count);
  out.set_sample_sum(histogram.sample_sum);
  if (extras != nullptr && extras->native.has_value()) WriteNative(*extras->native, out);
}

void Write(const ClientMetric::Summary& summary, wire::Summary& out) {
  out.set_sample_count(summary.sample_count);
  out.set_sample_sum(summary.sample_sum);
  for (const ClientMetric::Quantile& quantile : summary.quantile) {
    wire::Quantile& added = *out.add_quantile();
    added.set_quantile(quantile.quantile);
    added.set_value(quantile.value);
  }
}

wire::MetricType TypeOf(MetricType type) {
  switch (type) {
    case MetricType::Counter:
      return wire::COUNTER;
    case MetricType::Gauge:
      return wire::GAUGE;
    case MetricType::Summary:
      return wire::SUMMARY;
    case MetricType::Histogram:
      return wire::HISTOGRAM;
    default:
      return wire::UNTYPED;
  }
}

void Write(const ClientMetric& metric, wire::MetricType type, const HistogramExtras* extras,
           wire::Metric& out) {
  for (const auto& [name, value] : metric.label) {
    wire::LabelPair& label = *out.add_label();
    label.set_name(name);
    label.set_value(value);
  }
  if (metric.timestamp_ms != 0) out.set_timestamp_ms(metric.timestamp_ms);
  switch (type) {
    case wire::COUNTER:
      out.mutable_counter()->set_value(metric.counter.value);
      break;
    case wire::GAUGE:
      out.mutable_gauge()->set_value(metric.gauge.value);
      break;
    case wire::SUMMARY:
      Write(metric.summary, *out.mutable_summary());
      break;
    case wire::HISTOGRAM:
      Write(metric.histogram, extras, *out.mutable_histogram());
      break;
    default:
      out.mutable_untyped()->set_value(metric.untyped.value);
  }
}

void Write(const MetricFamily& family, absl::Span<const HistogramExtras> extras,
           wire::MetricFamily& out) {
  out.set_name(family.name);
  out.set_help(family.help);
  out.set_type(TypeOf(family.type));
  for (size_t i = 0; i < family.metric.size(); ++i) {
    Write(family.metric[i], out.type(), i < extras.size() ? &extras[i] : nullptr,
          *out.add_metric());
  }
}

}  // namespace

std::string WriteProtobuf(const MetricPage& page) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  {
    google::protobuf::io::CodedOutputStream coded(&stream);
    for (const MetricFamily& family : page.families) {
      google::protobuf::Arena arena;
      auto& message = *google::protobuf::Arena::CreateMessage<wire::MetricFamily>(&arena);
      Write(family, page.ExtrasOf(family), message);
      google::protobuf::util::SerializeDelimitedToCodedStream(message, &coded);
    }
  }
  return out;
}

}  // namespace bitmill
