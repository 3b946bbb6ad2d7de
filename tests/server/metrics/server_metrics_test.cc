#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"
#include "proto/prometheus.pb.h"
#include "server/metrics/metrics.h"
#include "server/metrics/native_histogram.h"
#include "server/metrics/process_metrics.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

HostInfo Host() {
  return {.cpu = "Test \"CPU\"", .isa = "avx2", .compiler = "g++", .cpu_budget_cores = 1.5};
}

TEST(ServerMetricsTest, ShowsEverySeriesOfAModel) {
  const auto metrics = CreateServerMetrics(Host());
  ModelMetrics& model = metrics->ForModel("digits", 3);
  StageTimes stages;
  stages[Stage::kCompute] = 40'000;
  model.RecordRequest(absl::StatusCode::kOk, 60'000, 2, stages);
  model.RecordRequest(absl::StatusCode::kDeadlineExceeded, 9'000'000, 1, {});
  model.RecordExecution(2, 40'000);
  model.queue_depth = 5;
  model.in_flight = 6;
  model.ready = 1;
  model.weight_bytes = 1234;
  model.load_ns = 1'500'000'000;
  const std::string text = metrics->RenderText();
  const std::string labels = "{model=\"digits\",version=\"3\"";
  EXPECT_THAT(text, HasSubstr("bitmill_requests_total" + labels + ",code=\"OK\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("bitmill_requests_total" + labels + ",code=\"DEADLINE_EXCEEDED\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_request_duration_seconds_count" + labels + "} 2\n"));
  EXPECT_THAT(
      text, HasSubstr("bitmill_request_duration_seconds_bucket" + labels + ",le=\"0.0001\"} 1\n"));
  EXPECT_THAT(
      text, HasSubstr("bitmill_stage_duration_seconds_count" + labels + ",stage=\"compute\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_stage_duration_seconds_bucket" + labels +
                              ",stage=\"compute\",le=\"5e-05\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_batch_rows_sum" + labels + "} 2\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_batch_rows_bucket" + labels + ",le=\"1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_batch_rows_bucket" + labels + ",le=\"2\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_rows_total" + labels + "} 2\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_executions_total" + labels + "} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_queue_depth" + labels + "} 5\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_in_flight" + labels + "} 6\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_model_ready" + labels + "} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_model_weight_bytes" + labels + "} 1234\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_model_load_seconds" + labels + ",plan=\"compiled\"} 1.5\n"));
  model.plan_from_file = 1;
  model.load_ns = 20'000'000;
  const std::string again = metrics->RenderText();
  EXPECT_THAT(again, HasSubstr("bitmill_model_load_seconds" + labels + ",plan=\"file\"} 0.02\n"));
  EXPECT_THAT(again, Not(HasSubstr("plan=\"compiled\""))) << "the last load alone";
}

TEST(ServerMetricsTest, ShowsLateAnswersOfModelsWithAnObjective) {
  const auto metrics = CreateServerMetrics(Host());
  ModelMetrics& model = metrics->ForModel("digits", 3);
  model.RecordRequest(absl::StatusCode::kOk, 60'000, 2, {});
  EXPECT_THAT(metrics->RenderText(), Not(HasSubstr("bitmill_objective_answers_total")));
  model.objective_ns = 50'000;
  const std::string name = "bitmill_objective_answers_total{model=\"digits\",version=\"3\",result=";
  EXPECT_THAT(metrics->RenderText(), HasSubstr(name + "\"late\"} 0\n"));
  model.RecordRequest(absl::StatusCode::kOk, 60'000, 2, {});
  model.RecordRequest(absl::StatusCode::kOk, 40'000, 2, {});
  model.RecordRequest(absl::StatusCode::kOk, 40'000, 2, {});
  EXPECT_THAT(metrics->RenderText(), HasSubstr(name + "\"late\"} 1\n"));
  EXPECT_THAT(metrics->RenderText(), HasSubstr(name + "\"within\"} 2\n"));
}

TEST(ServerMetricsTest, ShowsLimitsThatWereMeasured) {
  EXPECT_THAT(CreateServerMetrics(Host())->RenderText(), Not(HasSubstr("bitmill_machine_")));
  HostInfo host = Host();
  host.limits = {{"bit_macs_per_s", 2e12}, {"l3_bytes_per_s", 5e10}};
  const std::string text = CreateServerMetrics(host)->RenderText();
  EXPECT_THAT(text, HasSubstr("bitmill_machine_macs_per_second{products=\"bit\"} 2000000000000\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_machine_read_bytes_per_second{level=\"l3\"} 50000000000\n"));
}

TEST(ServerMetricsTest, ShowsProgramMachineAndProcess) {
  const auto metrics = CreateServerMetrics(Host());
  metrics->RecordRejected(absl::StatusCode::kNotFound);
  const std::string text = metrics->RenderText();
  EXPECT_THAT(
      text, HasSubstr("bitmill_build_info{version=\"" BITMILL_VERSION "\",compiler=\"g++\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_host_info{cpu=\"Test \\\"CPU\\\"\",isa=\"avx2\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_cpu_budget_cores 1.5\n"));
  EXPECT_THAT(text, HasSubstr("bitmill_rejected_requests_total{code=\"NOT_FOUND\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("bitmill_process_resident_memory_bytes 0\n")));
  EXPECT_THAT(text, Not(HasSubstr("bitmill_process_start_time_seconds 0\n")));
}

TEST(ServerMetricsTest, AVersionGoesOnCountingWhereItStopped) {
  const auto metrics = CreateServerMetrics(Host());
  ModelMetrics& first = metrics->ForModel("m", 1);
  EXPECT_EQ(&metrics->ForModel("m", 1), &first);
  EXPECT_NE(&metrics->ForModel("m", 2), &first);
}

TEST(ServerMetricsTest, ExemplarsAreInTheFormatsThatKnowThem) {
  const auto metrics = CreateServerMetrics(Host());
  ModelMetrics& model = metrics->ForModel("m", 1);
  model.RecordRequest(absl::StatusCode::kOk, 60'000, 1, {});
  model.RecordExemplar(60'000, {0x0af7651916cd43dd, 0x8448eb211c80319c});
  const std::string text = metrics->Render(MetricsFormat::kOpenMetrics);
  EXPECT_THAT(text, HasSubstr("bitmill_request_duration_seconds_bucket{model=\"m\",version=\"1\","
                              "le=\"0.0001\"} 1 # "
                              "{trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 6e-05 1"));
  EXPECT_THAT(text, HasSubstr("# TYPE bitmill_requests counter\nbitmill_requests_total{"));
  EXPECT_THAT(text, ::testing::EndsWith("\n# EOF\n"));
  EXPECT_THAT(metrics->RenderText(), Not(HasSubstr("trace_id")));
  EXPECT_THAT(metrics->Render(MetricsFormat::kProtobuf),
              HasSubstr("0af7651916cd43dd8448eb211c80319c"));
}

TEST(ServerMetricsTest, DurationsAndStagesAreNativeInProtobuf) {
  const auto metrics = CreateServerMetrics(Host());
  StageTimes stages;
  stages.ns.fill(300);
  metrics->ForModel("m", 1).RecordRequest(absl::StatusCode::kOk, 60'000, 1, stages);
  const std::string page = metrics->Render(MetricsFormat::kProtobuf);
  google::protobuf::io::ArrayInputStream stream(page.data(), static_cast<int>(page.size()));
  std::map<std::string, std::vector<int>> schemas;  // by family, of those with native buckets
  io::prometheus::client::MetricFamily family;
  while (google::protobuf::util::ParseDelimitedFromZeroCopyStream(&family, &stream, nullptr)) {
    for (const auto& metric : family.metric()) {
      const auto& histogram = metric.histogram();
      if (histogram.zero_threshold() <= 0) continue;
      schemas[family.name()].push_back(histogram.schema());
      EXPECT_EQ(histogram.sample_count(), 1U);
      EXPECT_EQ(histogram.zero_count(), 0U) << "no stage is that short";
      EXPECT_EQ(histogram.positive_delta_size(), 1);
      EXPECT_GT(histogram.bucket_size(), 10) << "for those who cannot read native ones";
    }
    family.Clear();
  }
  EXPECT_THAT(schemas, ::testing::ElementsAre(
                           ::testing::Pair("bitmill_request_duration_seconds",
                                           std::vector<int>(1, RequestBuckets::kSchema)),
                           ::testing::Pair("bitmill_stage_duration_seconds",
                                           std::vector<int>(kStages, StageBuckets::kSchema))));
}

MetricPoint Point(const char* name, const char* model, double value) {
  return {.name = name, .help = "Help.", .labels = {{"model", model}}, .value = value};
}

TEST(ServerMetricsTest, PointsOfSeveralSourcesBecomeOneFamily) {
  const auto metrics = CreateServerMetrics(Host());
  metrics->AddSource([] {
    return std::vector<MetricPoint>{Point("bitmill_x", "a", 1), Point("bitmill_y", "a", 2)};
  });
  int calls = 0;
  metrics->AddSource([&calls] {
    ++calls;
    return std::vector<MetricPoint>{Point("bitmill_x", "b", calls),
                                    // Belongs to a histogram: no such point can be part of it.
                                    Point("bitmill_request_duration_seconds", "a", 1)};
  });
  metrics->ForModel("m", 1);
  EXPECT_THAT(metrics->RenderText(),
              HasSubstr("# HELP bitmill_x Help.\n# TYPE bitmill_x gauge\n"
                        "bitmill_x{model=\"a\"} 1\nbitmill_x{model=\"b\"} 1\n"
                        "# HELP bitmill_y Help.\n"));
  EXPECT_THAT(metrics->RenderText(), HasSubstr("bitmill_x{model=\"b\"} 2\n"));
}

TEST(ServerMetricsTest, ARegistryIsShownAsLongAsItsOwnerKeepsIt) {
  const auto metrics = CreateServerMetrics(Host());
  auto registry = std::make_shared<prometheus::Registry>();
  prometheus::BuildCounter()
      .Name("embedder_events_total")
      .Help("Events.")
      .Register(*registry)
      .Add({{"kind", "a"}})
      .Increment(3);
  metrics->AddCollectable(registry);
  const std::string shown =
      "# HELP embedder_events_total Events.\n# TYPE embedder_events_total counter\n"
      "embedder_events_total{kind=\"a\"} 3\n";
  EXPECT_THAT(metrics->RenderText(), HasSubstr(shown));
  EXPECT_THAT(metrics->Render(MetricsFormat::kOpenMetrics),
              HasSubstr("# TYPE embedder_events counter\nembedder_events_total{kind=\"a\"} 3\n"));
  EXPECT_THAT(metrics->Render(MetricsFormat::kProtobuf), HasSubstr("embedder_events_total"));
  EXPECT_THAT(prometheus::TextSerializer().Serialize(metrics->AsCollectable().Collect()),
              HasSubstr(shown));
  registry.reset();
  EXPECT_THAT(metrics->RenderText(), Not(HasSubstr("embedder")));
}

TEST(ServerMetricsTest, NoNameOfARegistryIsShownTwice) {
  const auto metrics = CreateServerMetrics(Host());
  metrics->ForModel("m", 1);
  metrics->AddSource([] { return std::vector<MetricPoint>{Point("bitmill_x", "a", 1)}; });
  const auto registry = std::make_shared<prometheus::Registry>();
  const auto add_gauge = [&](const char* name) {
    prometheus::BuildGauge().Name(name).Help("G.").Register(*registry).Add({{"model", "b"}}).Set(2);
  };
  add_gauge("bitmill_x");                         // a gauge: joins
  add_gauge("bitmill_rows_total");                // a counter: left out
  add_gauge("bitmill_request_duration_seconds");  // a histogram: left out
  metrics->AddCollectable(registry);
  const std::string text = metrics->RenderText();
  EXPECT_THAT(text, HasSubstr("# TYPE bitmill_x gauge\n"
                              "bitmill_x{model=\"a\"} 1\nbitmill_x{model=\"b\"} 2\n"));
  EXPECT_THAT(text, Not(HasSubstr("G.\n")));
  EXPECT_THAT(text, Not(HasSubstr("bitmill_rows_total{model=\"b\"}")));
  EXPECT_THAT(text, Not(HasSubstr("bitmill_request_duration_seconds{model=\"b\"}")));
}

// Always fails to say anything.
class Broken final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    throw std::runtime_error("broken");
  }
};

TEST(ServerMetricsTest, ACollectableThatThrowsIsLeftOut) {
  const auto metrics = CreateServerMetrics(Host());
  const auto broken = std::make_shared<Broken>();
  metrics->AddCollectable(broken);
  EXPECT_THAT(metrics->RenderText(), HasSubstr("bitmill_cpu_budget_cores 1.5\n"));
}

// Runs it some times, prints the CPU time that it takes and what it returns; returns the least
// time.
double PrintMillis(const char* what, const std::function<size_t()>& run) {
  std::vector<double> millis;
  size_t size = 0;
  for (int i = 0; i < 9; ++i) {
    const int64_t start = ThreadCpuNanos();
    size = run();
    millis.push_back(static_cast<double>(ThreadCpuNanos() - start) * 1e-6);
  }
  std::sort(millis.begin(), millis.end());
  std::printf("%s: least %.2f ms of CPU time, median %.2f, most %.2f; size %zu\n", what, millis[0],
              millis[millis.size() / 2], millis.back(), size);
  return millis[0];
}

// The bar is 5 ms; the bound leaves room for a busy machine, the figures are printed.
TEST(ServerMetricsTest, AHundredModelsAreRenderedInMilliseconds) {
  const auto metrics = CreateServerMetrics(Host());
  for (int i = 0; i < 100; ++i) {
    ModelMetrics& model = metrics->ForModel("a_model_of_many_" + std::to_string(i), 1);
    StageTimes stages;
    for (int k = 0; k < 200; ++k) {
      stages.ns.fill(1'000 + k * k * 100);
      model.RecordRequest(absl::StatusCode::kOk, 20'000 + k * k * 1000, 1, stages);
    }
    model.RecordExecution(1, 1000);
  }
  const struct {
    MetricsFormat format;
    const char* name;
  } cases[] = {{MetricsFormat::kText, "text"},
               {MetricsFormat::kOpenMetrics, "OpenMetrics"},
               {MetricsFormat::kProtobuf, "protobuf"}};
  for (const auto& c : cases) {
    const double least = PrintMillis(c.name, [&] { return metrics->Render(c.format).size(); });
#if defined(NDEBUG) && !defined(BITMILL_SANITIZED)
    EXPECT_LT(least, 20);
#else
    EXPECT_GT(least, 0);
#endif
  }
  PrintMillis("families alone", [&] { return metrics->AsCollectable().Collect().size(); });
  PrintMillis("families written by prometheus-cpp", [&] {
    return prometheus::TextSerializer().Serialize(metrics->AsCollectable().Collect()).size();
  });
}

TEST(ServerMetricsTest, PromtoolFindsNothingToComplainAbout) {
  if (std::system("command -v promtool >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "promtool is not installed";
  }
  const auto metrics = CreateServerMetrics(Host());
  metrics->ForModel("m", 1).RecordRequest(absl::StatusCode::kOk, 1, 1, {});
  metrics->ForModel("m", 1).RecordExecution(1, 1);
  const std::string file = ::testing::TempDir() + "/metrics.txt";
  std::ofstream(file) << metrics->RenderText();
  EXPECT_EQ(std::system(("promtool check metrics <" + file).c_str()), 0);
}

TEST(ProcessMetricsTest, ReadsThisProcess) {
  const ProcessMetrics metrics = ReadProcessMetrics();
  EXPECT_GT(metrics.resident_bytes, 1 << 20);
  EXPECT_GE(metrics.virtual_bytes, metrics.resident_bytes);
  EXPECT_GE(metrics.threads, 1);
  EXPECT_GE(metrics.open_fds, 3);
  EXPECT_GE(metrics.max_fds, metrics.open_fds);
  EXPECT_GT(metrics.start_unix_seconds, 1.6e9);
}

TEST(ProcessMetricsTest, IsZeroWhereNothingCanBeRead) {
  const ProcessMetrics metrics = ReadProcessMetrics("/nonexistent");
  EXPECT_EQ(metrics.resident_bytes, 0);
  EXPECT_EQ(metrics.open_fds, 0);
}

}  // namespace
}  // namespace bitmill
