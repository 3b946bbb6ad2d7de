// prometheus-cpp's own writer judges ours: what is without extras reads the same from both. They
// differ in the order of a histogram's lines, in the spelling of NaN, and in digits: the library
// writes the first 16 of a number, we as many as it takes to read the same number again.
#include "prometheus/text_serializer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/summary.h"
#include "server/metrics/metric_page.h"
#include "server/metrics/metrics.h"
#include "server/metrics/write_families.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string Library(const std::vector<prometheus::MetricFamily>& families) {
  return prometheus::TextSerializer().Serialize(families);
}

// As the library would have written it.
std::string SixteenDigits(absl::string_view number) {
  double value = 0;
  EXPECT_TRUE(absl::SimpleAtod(number, &value)) << number;
  if (std::isnan(value)) return "Nan";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return absl::StrFormat("%.16g", value);
}

// Our text as lines, numbers with the library's digits.
std::vector<std::string> OurLines(const std::vector<prometheus::MetricFamily>& families) {
  const std::string text = WriteText({.families = families});
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  for (std::string& line : lines) {
    if (line.empty() || line[0] == '#') continue;
    const size_t begin =
        line.find("} ") == std::string::npos ? line.find(' ') + 1 : line.find("} ") + 2;
    const size_t length = std::min(line.find(' ', begin), line.size()) - begin;
    line.replace(begin, length, SixteenDigits(line.substr(begin, length)));
  }
  return lines;
}

// Lines of the values behind a head change places; heads and values do not.
std::vector<std::string> SortedByFamily(std::vector<std::string> lines) {
  auto begin = lines.begin();
  while (begin != lines.end()) {
    const auto is_head = [](const std::string& line) { return absl::StartsWith(line, "#"); };
    begin = std::find_if_not(begin, lines.end(), is_head);
    const auto end = std::find_if(begin, lines.end(), is_head);
    std::sort(begin, end);
    begin = end;
  }
  return lines;
}

void ExpectSame(const std::vector<prometheus::MetricFamily>& families) {
  const std::vector<std::string> theirs = absl::StrSplit(Library(families), '\n');
  ASSERT_GT(theirs.size(), 1U);
  EXPECT_EQ(SortedByFamily(OurLines(families)), SortedByFamily(theirs));
}

TEST(TextSerializerTest, CountersAndGaugesAreTheSameBytes) {
  std::vector<prometheus::MetricFamily> families = {
      NewFamily("c_total", prometheus::MetricType::Counter, "C with \"quotes\"."),
      NewFamily("g", prometheus::MetricType::Gauge, ""),
      NewFamily("none", prometheus::MetricType::Gauge, "Without a metric."),
      NewFamily("u", prometheus::MetricType::Untyped, "U.")};
  AddValue(families[0], {{"model", "a\"b\\c\nd,e=}"}, {"code", ""}}, 12);
  AddValue(families[0], {}, 1e300);
  for (const double value : {0.0, 1.0, -3.0, 0.1, 2.5e-05, 0.0001, 1e-5, 5e10, 2e12,
                             123456789012345.0, 0.3333333333333333, kInfinity, -kInfinity}) {
    AddValue(families[1], {{"model", "m"}}, value);
  }
  AddMetric(families[3], {{"a", "b"}}).untyped.value = 7;
  AddMetric(families[3], {}).timestamp_ms = 1'700'000'000'123;
  EXPECT_EQ(WriteText({.families = families}), Library(families));
}

TEST(TextSerializerTest, AnyNumberIsTheSameToTheLibrarysDigits) {
  std::vector<prometheus::MetricFamily> families = {
      NewFamily("g", prometheus::MetricType::Gauge, "G.")};
  AddValue(families[0], {}, std::numeric_limits<double>::quiet_NaN());
  AddValue(families[0], {}, std::numeric_limits<double>::denorm_min());
  AddValue(families[0], {}, std::numeric_limits<double>::max());
  std::mt19937_64 random(7);
  for (int i = 0; i < 2000; ++i) {
    const double scale = std::pow(10.0, static_cast<double>(i % 60) - 30);
    AddValue(families[0], {}, (std::uniform_real_distribution<double>(-1, 1)(random)) * scale);
    AddValue(families[0], {}, static_cast<double>(random() >> (i % 64)));
  }
  ExpectSame(families);
}

TEST(TextSerializerTest, HistogramsAndSummariesHaveTheSameLines) {
  std::vector<prometheus::MetricFamily> families = {
      NewFamily("h", prometheus::MetricType::Histogram, "H."),
      NewFamily("s", prometheus::MetricType::Summary, "S.")};
  AddMetric(families[0], {{"model", "m"}}).histogram = {
      .sample_count = 6, .sample_sum = 12.25, .bucket = {{3, 1}, {5, 2.5e-05}, {6, kInfinity}}};
  AddMetric(families[0], {}).histogram = {
      .sample_count = 7, .sample_sum = 0.1, .bucket = {{4, 0.00035}, {5, 1e10}}};
  AddMetric(families[0], {{"no", "buckets"}}).histogram = {
      .sample_count = 1, .sample_sum = 1, .bucket = {}};
  AddMetric(families[1], {{"model", "m"}}).summary = {
      .sample_count = 4, .sample_sum = 2.5, .quantile = {{0.5, 0.25}, {0.99, 2}}};
  AddMetric(families[1], {}).summary = {.sample_count = 0, .sample_sum = 0, .quantile = {}};
  ExpectSame(families);
}

TEST(TextSerializerTest, CountsAreWholeBeyondWhatADoubleHolds) {
  std::vector<prometheus::MetricFamily> families = {
      NewFamily("h", prometheus::MetricType::Histogram, "H.")};
  prometheus::ClientMetric& metric = AddMetric(families[0], {});
  metric.histogram = {
      .sample_count = 9007199254740993, .sample_sum = 1, .bucket = {{9007199254740993, kInfinity}}};
  metric.timestamp_ms = 5;
  for (const std::string& text : {Library(families), WriteText({.families = families})}) {
    EXPECT_THAT(text, HasSubstr("\nh_bucket{le=\"+Inf\"} 9007199254740993 5\n"));
    EXPECT_THAT(text, HasSubstr("\nh_sum 1 5\n"));
    EXPECT_THAT(text, HasSubstr("\nh_count 9007199254740993 5\n"));
  }
}

TEST(TextSerializerTest, ARegistryIsWrittenTheSame) {
  prometheus::Registry registry;
  prometheus::BuildCounter()
      .Name("r_total")
      .Help("R.")
      .Register(registry)
      .Add({{"a", "b"}})
      .Increment(3);
  prometheus::BuildGauge().Name("r").Help("R.").Register(registry).Add({}).Set(-0.125);
  auto& histogram = prometheus::BuildHistogram()
                        .Name("r_seconds")
                        .Help("R.")
                        .Register(registry)
                        .Add({{"a", "b"}}, prometheus::Histogram::BucketBoundaries{0.001, 0.01, 1});
  for (const double value : {0.0005, 0.5, 3.0}) histogram.Observe(value);
  prometheus::BuildSummary()
      .Name("r_size")
      .Help("R.")
      .Register(registry)
      .Add({}, prometheus::Summary::Quantiles{{0.5, 0.05}})
      .Observe(4);
  ExpectSame(registry.Collect());
}

TEST(TextSerializerTest, EverythingThatAServerShowsIsWrittenTheSame) {
  const auto metrics = CreateServerMetrics(
      {.cpu = "A \"CPU\"", .isa = "avx2", .compiler = "g++", .cpu_budget_cores = 1.5},
      {.triton_names = true});
  for (const char* const name : {"digits", "a_model"}) {
    ModelMetrics& model = metrics->ForModel(name, 1);
    StageTimes stages;
    for (int i = 0; i < 300; ++i) {
      stages.ns.fill(1'000 + i * i * 37);
      model.RecordRequest(absl::StatusCode::kOk, 20'000 + i * i * 331, 1 + i % 3, stages);
    }
    model.RecordRequest(absl::StatusCode::kInternal, 1'000, 1, {});
    model.RecordExecution(3, 1'000);
    model.load_ns = 123'456'789;
  }
  const std::vector<prometheus::MetricFamily> families = metrics->AsCollectable().Collect();
  EXPECT_GT(families.size(), 20U);
  ExpectSame(families);
}

}  // namespace
}  // namespace bitmill
