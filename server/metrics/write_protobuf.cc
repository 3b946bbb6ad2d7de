#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include <cmath>
#include <limits>

#include "proto/prometheus.pb.h"
#include "server/metrics/write_families.h"

namespace bitmill {
namespace {

namespace wire = io::prometheus::client;

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
void WriteNative(const NativeCounts& counts, wire::Histogram& out) {
  out.set_schema(kNativeSchema);
  out.set_zero_threshold(kNativeZeroSeconds);
  out.set_zero_count(static_cast<uint64_t>(counts[0]));
  wire::BucketSpan* span = nullptr;
  int after_last = 0;  // index after the last one that was written
  int64_t before = 0;
  for (size_t place = 1; place < counts.size(); ++place) {
    if (counts[place] == 0) continue;
    const int index = NativeIndex(place);
    if (span == nullptr || index != after_last) {
      span = out.add_positive_span();
      span->set_offset(index - after_last);  // the first one counts from index 0
    }
    span->set_length(span->length() + 1);
    out.add_positive_delta(counts[place] - before);
    before = counts[place];
    after_last = index + 1;
  }
}

void Write(const MetricFamily& family, const HistogramSample& histogram, wire::Histogram& out) {
  auto exemplar = histogram.exemplars.begin();
  int64_t cumulative = 0;
  for (size_t i = 0; i < histogram.buckets.size(); ++i) {
    cumulative += histogram.buckets[i];
    wire::Bucket& bucket = *out.add_bucket();
    bucket.set_cumulative_count(static_cast<uint64_t>(cumulative));
    bucket.set_upper_bound(i < family.bounds.size() ? family.bounds[i]
                                                    : std::numeric_limits<double>::infinity());
    if (exemplar != histogram.exemplars.end() && exemplar->bucket == i) {
      Write(*exemplar, *bucket.mutable_exemplar());
      ++exemplar;
    }
  }
  if (histogram.native != nullptr) {
    WriteNative(*histogram.native, out);
    // The count of a native histogram is checked against its buckets.
    cumulative = 0;
    for (const int64_t count : *histogram.native) cumulative += count;
  }
  out.set_sample_count(static_cast<uint64_t>(cumulative));
  out.set_sample_sum(histogram.sum);
}

void Write(const MetricFamily& family, wire::MetricFamily& out) {
  out.set_name(family.name);
  out.set_help(family.help);
  out.set_type(family.type == FamilyType::kHistogram ? wire::HISTOGRAM
               : family.type == FamilyType::kCounter ? wire::COUNTER
                                                     : wire::GAUGE);
  for (const MetricSample& sample : family.samples) {
    wire::Metric& metric = *out.add_metric();
    for (const auto& [name, value] : sample.labels) {
      wire::LabelPair& label = *metric.add_label();
      label.set_name(name);
      label.set_value(value);
    }
    if (family.type == FamilyType::kHistogram) {
      Write(family, *sample.histogram, *metric.mutable_histogram());
    } else if (family.type == FamilyType::kCounter) {
      metric.mutable_counter()->set_value(sample.value);
    } else {
      metric.mutable_gauge()->set_value(sample.value);
    }
  }
}

}  // namespace

std::string WriteProtobuf(const std::vector<MetricFamily>& families) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  {
    google::protobuf::io::CodedOutputStream coded(&stream);
    for (const MetricFamily& family : families) {
      google::protobuf::Arena arena;
      auto& message = *google::protobuf::Arena::CreateMessage<wire::MetricFamily>(&arena);
      Write(family, message);
      google::protobuf::util::SerializeDelimitedToCodedStream(message, &coded);
    }
  }
  return out;
}

}  // namespace bitmill
