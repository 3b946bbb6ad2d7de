#include "server/metrics/exposition.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/prometheus.pb.h"
#include "server/metrics/metric_page.h"

namespace bitmill {
namespace {

namespace wire = io::prometheus::client;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kText = MetricsFormat::kText;
constexpr auto kOpenMetrics = MetricsFormat::kOpenMetrics;
constexpr auto kProtobuf = MetricsFormat::kProtobuf;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(ChooseMetricsFormatTest, TakesWhatTheClientWantsMost) {
  const std::string protobuf =
      "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
  const struct {
    std::string accept;
    MetricsFormat format;
  } cases[] = {
      {"", kText},
      {"*/*", kText},
      {"text/html", kText},
      {"text/plain;version=0.0.4", kText},
      {"application/openmetrics-text", kOpenMetrics},
      {"application/openmetrics-text; version=1.0.0; charset=utf-8", kOpenMetrics},
      {"application/openmetrics-text;version=\"1.0.0\"", kOpenMetrics},
      {"APPLICATION/OpenMetrics-Text;Version=1.0.0", kOpenMetrics},
      {"application/openmetrics-text;version=2.0.0", kText},
      {"application/openmetrics-text;q=0.4,text/plain;q=0.6", kText},
      {"application/openmetrics-text;q=0,*/*;q=0.1", kText},
      {"application/openmetrics-text;q=x,*/*;q=0.1", kText},
      // What Prometheus 2.42 sends, without and with native histograms.
      {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
       "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
       kOpenMetrics},
      {protobuf + ",application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5,*/*;q=0.1",
       kProtobuf},
      {protobuf + ";q=0.3,application/openmetrics-text;version=1.0.0;q=0.8", kOpenMetrics},
      {"application/vnd.google.protobuf;proto=other;encoding=delimited", kText},
      {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
       kText},
      {";;;,,=,q=", kText},
  };
  for (const auto& c : cases) EXPECT_EQ(ChooseMetricsFormat(c.accept), c.format) << c.accept;
}

MetricPage Counter(const char* name) {
  MetricPage page;
  page.families.push_back(NewFamily(name, prometheus::MetricType::Counter, "Says \"a\\b\"."));
  AddValue(page.families[0], {{"model", "a\"\\\n"}}, 7);
  return page;
}

// 3 values up to 1, 2 up to 2.5, one above; two of them have traces.
MetricPage Histogram() {
  MetricPage page;
  page.families.push_back(NewFamily("h_seconds", prometheus::MetricType::Histogram, "H."));
  AddMetric(page.families[0], {{"model", "m"}}).histogram = {
      .sample_count = 6, .sample_sum = 12.25, .bucket = {{3, 1}, {5, 2.5}, {6, kInfinity}}};
  page.extras["h_seconds"].push_back(
      {.exemplars = {{.bucket = 0, .trace_id = "0af7", .value = 0.5, .unix_seconds = 1e9 + .5},
                     {.bucket = 2, .trace_id = "b7ad", .value = 9, .unix_seconds = 1e9}},
       .native = std::nullopt});
  return page;
}

TEST(WriteMetricsTest, TextOfACounterIsEscaped) {
  EXPECT_EQ(WriteMetrics(Counter("c_total"), kText),
            "# HELP c_total Says \"a\\\\b\".\n# TYPE c_total counter\n"
            "c_total{model=\"a\\\"\\\\\\n\"} 7\n");
}

TEST(WriteMetricsTest, OpenMetricsNamesACounterWithoutTotalInItsHead) {
  EXPECT_EQ(WriteMetrics(Counter("c_total"), kOpenMetrics),
            "# HELP c Says \\\"a\\\\b\\\".\n# TYPE c counter\n"
            "c_total{model=\"a\\\"\\\\\\n\"} 7\n# EOF\n");
}

TEST(WriteMetricsTest, OpenMetricsKeepsTheNameOfAForeignCounter) {
  const std::string text = WriteMetrics(Counter("nv_count"), kOpenMetrics);
  EXPECT_THAT(text, HasSubstr("# TYPE nv_count unknown\n"));
  EXPECT_THAT(text, HasSubstr("nv_count{model="));
}

TEST(WriteMetricsTest, TextOfAHistogramHasCumulativeBucketsAndNoExemplars) {
  EXPECT_EQ(WriteMetrics(Histogram(), kText),
            "# HELP h_seconds H.\n# TYPE h_seconds histogram\n"
            "h_seconds_bucket{model=\"m\",le=\"1\"} 3\n"
            "h_seconds_bucket{model=\"m\",le=\"2.5\"} 5\n"
            "h_seconds_bucket{model=\"m\",le=\"+Inf\"} 6\n"
            "h_seconds_sum{model=\"m\"} 12.25\n"
            "h_seconds_count{model=\"m\"} 6\n");
}

TEST(WriteMetricsTest, OpenMetricsOfAHistogramHasExemplars) {
  EXPECT_EQ(WriteMetrics(Histogram(), kOpenMetrics),
            "# HELP h_seconds H.\n# TYPE h_seconds histogram\n"
            "h_seconds_bucket{model=\"m\",le=\"1.0\"} 3 # {trace_id=\"0af7\"} 0.5 1000000000.500\n"
            "h_seconds_bucket{model=\"m\",le=\"2.5\"} 5\n"
            "h_seconds_bucket{model=\"m\",le=\"+Inf\"} 6 # {trace_id=\"b7ad\"} 9 1000000000.000\n"
            "h_seconds_sum{model=\"m\"} 12.25\n"
            "h_seconds_count{model=\"m\"} 6\n# EOF\n");
}

TEST(WriteMetricsTest, NumbersAreShortAndExact) {
  MetricPage page;
  page.families.push_back(NewFamily("g", prometheus::MetricType::Gauge, ""));
  for (const double value : {0.0, -3.0, 0.1, 2.5e-05, 0.0001, 5e10, 2e12, 1e300, 1.0 / 3, kInfinity,
                             -kInfinity, std::numeric_limits<double>::quiet_NaN()}) {
    AddValue(page.families[0], {}, value);
  }
  EXPECT_EQ(WriteMetrics(page, kText),
            "# TYPE g gauge\ng 0\ng -3\ng 0.1\ng 2.5e-05\ng 0.0001\ng 50000000000\n"
            "g 2000000000000\ng 1e+300\ng 0.3333333333333333\ng +Inf\ng -Inf\ng NaN\n");
}

std::vector<wire::MetricFamily> ReadProtobuf(const std::string& bytes) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  std::vector<wire::MetricFamily> families;
  bool end = false;
  while (true) {
    wire::MetricFamily family;
    if (!google::protobuf::util::ParseDelimitedFromZeroCopyStream(&family, &stream, &end)) break;
    families.push_back(family);
  }
  EXPECT_TRUE(end) << "not all of it could be read";
  return families;
}

// Counts by index, as a reader gets them from spans and deltas.
std::map<int, int64_t> NativeOf(const wire::Histogram& histogram) {
  std::map<int, int64_t> counts;
  int index = 0, next = 0;
  int64_t count = 0;
  for (const wire::BucketSpan& span : histogram.positive_span()) {
    index += span.offset();
    for (uint32_t i = 0; i < span.length(); ++i) {
      count += histogram.positive_delta(next++);
      counts[index++] = count;
    }
  }
  EXPECT_EQ(next, histogram.positive_delta_size());
  return counts;
}

TEST(WriteMetricsTest, ProtobufCarriesNativeAndClassicBuckets) {
  MetricPage page = Histogram();
  NativeCounts native{.schema = 4,
                      .zero_seconds = std::exp2(-20),
                      .first_index = RequestBuckets::Index(1),
                      .counts = std::vector<int64_t>(RequestBuckets::kCount)};
  native.counts[0] = 1;
  for (const int64_t ns : {600'000'000, 610'000'000, 630'000'000, 2'000'000'000, 2'000'000'000}) {
    ++native.counts[RequestBuckets::Place(ns)];
  }
  page.extras["h_seconds"][0].native = std::move(native);
  page.families.push_back(std::move(Counter("c_total").families[0]));
  const std::vector<wire::MetricFamily> read = ReadProtobuf(WriteMetrics(page, kProtobuf));
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0].name(), "h_seconds");
  EXPECT_EQ(read[0].type(), wire::HISTOGRAM);
  ASSERT_EQ(read[0].metric_size(), 1);
  EXPECT_EQ(read[0].metric(0).label(0).value(), "m");
  const wire::Histogram& histogram = read[0].metric(0).histogram();
  ASSERT_EQ(histogram.bucket_size(), 3);
  EXPECT_EQ(histogram.bucket(1).cumulative_count(), 5U);
  EXPECT_EQ(histogram.bucket(1).upper_bound(), 2.5);
  EXPECT_FALSE(histogram.bucket(1).has_exemplar());
  const wire::Exemplar& exemplar = histogram.bucket(0).exemplar();
  EXPECT_EQ(exemplar.label(0).name(), "trace_id");
  EXPECT_EQ(exemplar.label(0).value(), "0af7");
  EXPECT_EQ(exemplar.value(), 0.5);
  EXPECT_EQ(exemplar.timestamp().seconds(), 1'000'000'000);
  EXPECT_EQ(exemplar.timestamp().nanos(), 500'000'000);
  EXPECT_EQ(histogram.schema(), 4);
  EXPECT_EQ(histogram.zero_count(), 1U);
  EXPECT_EQ(histogram.zero_threshold(), std::exp2(-20));
  EXPECT_EQ(histogram.sample_count(), 6U);
  EXPECT_EQ(histogram.sample_sum(), 12.25);
  // 0.6 and 0.61 s: 2^(-11/16) = 0.6209; 0.63 s: the next; 2 s ends bucket 16.
  EXPECT_EQ(NativeOf(histogram), (std::map<int, int64_t>{{-11, 2}, {-10, 1}, {16, 2}}));
  EXPECT_EQ(read[1].name(), "c_total");
  EXPECT_EQ(read[1].type(), wire::COUNTER);
  EXPECT_EQ(read[1].metric(0).counter().value(), 7);
}

TEST(WriteMetricsTest, ProtobufWithoutNativeBucketsIsClassic) {
  const auto read = ReadProtobuf(WriteMetrics(Histogram(), kProtobuf));
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read[0].metric(0).histogram().zero_threshold(), 0);
  EXPECT_EQ(read[0].metric(0).histogram().sample_count(), 6U);
}

// What Bitmill has none of, but an embedder's prometheus::Registry may.
MetricPage Foreign() {
  MetricPage page;
  page.families.push_back(NewFamily("s", prometheus::MetricType::Summary, "S."));
  AddMetric(page.families[0], {{"a", "b"}}).summary = {
      .sample_count = 4, .sample_sum = 2.5, .quantile = {{0.5, 0.25}, {1, 2}}};
  page.families.push_back(NewFamily("u", prometheus::MetricType::Untyped, "U."));
  prometheus::ClientMetric& metric = AddMetric(page.families[1], {});
  metric.untyped.value = 3;
  metric.timestamp_ms = 1'700'000'000'123;
  page.families.push_back(NewFamily("h", prometheus::MetricType::Histogram, "H."));
  AddMetric(page.families[2], {}).histogram = {
      .sample_count = 3, .sample_sum = 1.5, .bucket = {{2, 0.5}}};
  return page;
}

TEST(WriteMetricsTest, OpenMetricsKnowsEveryTypeOfTheLibrary) {
  EXPECT_EQ(WriteMetrics(Foreign(), kOpenMetrics),
            "# HELP s S.\n# TYPE s summary\n"
            "s{a=\"b\",quantile=\"0.5\"} 0.25\ns{a=\"b\",quantile=\"1.0\"} 2\n"
            "s_sum{a=\"b\"} 2.5\ns_count{a=\"b\"} 4\n"
            "# HELP u U.\n# TYPE u unknown\nu 3 1700000000.123\n"
            "# HELP h H.\n# TYPE h histogram\n"
            "h_bucket{le=\"0.5\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 1.5\nh_count 3\n# EOF\n");
}

TEST(WriteMetricsTest, ProtobufKnowsEveryTypeOfTheLibrary) {
  const auto read = ReadProtobuf(WriteMetrics(Foreign(), kProtobuf));
  ASSERT_EQ(read.size(), 3U);
  EXPECT_EQ(read[0].type(), wire::SUMMARY);
  const wire::Summary& summary = read[0].metric(0).summary();
  EXPECT_EQ(summary.sample_count(), 4U);
  EXPECT_EQ(summary.sample_sum(), 2.5);
  ASSERT_EQ(summary.quantile_size(), 2);
  EXPECT_EQ(summary.quantile(0).quantile(), 0.5);
  EXPECT_EQ(summary.quantile(0).value(), 0.25);
  EXPECT_EQ(read[1].type(), wire::UNTYPED);
  EXPECT_EQ(read[1].metric(0).untyped().value(), 3);
  EXPECT_EQ(read[1].metric(0).timestamp_ms(), 1'700'000'000'123);
  EXPECT_EQ(read[2].metric(0).histogram().sample_count(), 3U);
}

TEST(WriteMetricsTest, NothingIsValidInEveryFormat) {
  EXPECT_EQ(WriteMetrics({}, kText), "");
  EXPECT_EQ(WriteMetrics({}, kOpenMetrics), "# EOF\n");
  EXPECT_EQ(WriteMetrics({}, kProtobuf), "");
  EXPECT_THAT(MetricsContentType(kText), Not(HasSubstr("openmetrics")));
}

}  // namespace
}  // namespace bitmill
