#include "server/frontend/analysis_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <limits>
#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"
#include "tests/fakes/fake_analysis.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace pb = analysis::v1;

ModelReport MakeModel(const std::string& name, int64_t version) {
  ModelReport model;
  model.facts.name = name;
  model.facts.version = version;
  return model;
}

std::vector<std::string> Names(const pb::Report& report) {
  std::vector<std::string> names;
  for (const pb::ModelReport& model : report.models()) names.push_back(model.name());
  return names;
}

TEST(AnalysisMessagesTest, TheNamesOfCausesAreThoseOfTheProtocol) {
  const google::protobuf::EnumDescriptor& causes = *pb::Cause_descriptor();
  ASSERT_EQ(causes.value_count(), kCauses);
  for (int i = 0; i < kCauses; ++i) {
    std::string name = causes.FindValueByNumber(i)->name();
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    EXPECT_EQ(name, CauseName(static_cast<Cause>(i)));
  }
}

TEST(AnalysisMessagesTest, TellsTheMachineAndTheHost) {
  AnalysisReport report;
  report.unix_millis = 1'700'000'000'123;
  report.window_seconds = 5;
  report.limits.bit_macs_per_s = 2e12;
  report.host.cpu_budget_cores = 1.5;
  report.host.throttled_share = 0.25;
  report.host.memory_limit_bytes = int64_t{3} << 30;
  report.host_diagnosis = {
      Cause::kCpuThrottled, 0.9, {{Cause::kCpuThrottled, 7.5, 0.9, "e", "a"}}, /*p99_ms=*/40};
  report.records_dropped = 4;
  HostInfo host;
  host.cpu = "Some CPU";
  host.isa = "avx512";
  const pb::Report message = ToProto(report, host);
  EXPECT_EQ(message.unix_millis(), 1'700'000'000'123);
  EXPECT_EQ(message.server_version(), BITMILL_VERSION);
  EXPECT_EQ(message.machine().cpu(), "Some CPU");
  EXPECT_EQ(message.machine().isa(), "avx512");
  EXPECT_EQ(message.machine().budget_cores(), 1.5);
  // What was not measured is not there, rather than 0.
  ASSERT_EQ(message.machine().limits_size(), 1);
  EXPECT_EQ(message.machine().limits().at("bit_macs_per_s"), 2e12);
  EXPECT_EQ(message.host().throttled_share(), 0.25);
  EXPECT_EQ(message.host().psi_cpu_some(), -1);
  EXPECT_EQ(message.host().memory_limit_bytes(), int64_t{3} << 30);
  EXPECT_EQ(message.host().diagnosis().cause(), pb::CPU_THROTTLED);
  EXPECT_EQ(message.host().diagnosis().findings(0).recoverable_p99_ms(), 7.5);
  EXPECT_EQ(message.host().diagnosis().p99_ms(), 40);
  EXPECT_EQ(message.records_dropped(), 4);
}

TEST(AnalysisMessagesTest, TellsAModelInMilliseconds) {
  ModelReport model = MakeModel("m", 3);
  model.controls.max_rows = 32;
  model.controls.max_delay_ns = 1'500'000;
  model.controls.admit_within_ns = 20'000'000;
  model.objective.p99_ms = 10;
  model.stage_mean_ms[static_cast<size_t>(Stage::kQueue)] = 1.25;
  model.stage_p99_ms[static_cast<size_t>(Stage::kQueue)] = 9;
  model.formation_mean_ms = 0.5;
  model.write_mean_ms = 0.25;
  model.closed_share[static_cast<size_t>(BatchClosed::kAge)] = 0.75;
  model.line = {.a_ms = 2, .b_ms = 0.125, .relative_error = 0.05, .samples = 99};
  model.forecast.seconds_to_saturation = 42;
  model.forecast.b_drifted = true;
  model.forecast.capacity_limit = CapacityLimit::kIoThreads;
  model.forecast.receive_ms = 0.025;
  model.forecast.split_known = true;
  model.diagnosis.cause = Cause::kBatchFormationWait;
  const pb::ModelReport message = ToProto(model);
  EXPECT_EQ(message.version(), 3);
  EXPECT_EQ(message.controls().max_delay_ms(), 1.5);
  EXPECT_EQ(message.controls().admit_within_ms(), 20);
  EXPECT_EQ(message.objective_p99_ms(), 10);
  std::vector<std::string> stages;
  for (const pb::StageTime& stage : message.stages()) stages.push_back(stage.stage());
  EXPECT_THAT(stages, ElementsAre("decode", "queue", "assemble", "schedule", "compute", "split",
                                  "encode", "formation", "write"));
  EXPECT_EQ(message.stages(1).mean_ms(), 1.25);
  EXPECT_EQ(message.stages(1).p99_ms(), 9);
  EXPECT_EQ(message.stages(7).mean_ms(), 0.5);
  EXPECT_EQ(message.stages(8).mean_ms(), 0.25);
  EXPECT_EQ(message.batch_closed().at("age"), 0.75);
  EXPECT_EQ(message.line().b_ms(), 0.125);
  EXPECT_FALSE(message.line().a_drifted());
  EXPECT_TRUE(message.line().b_drifted());
  EXPECT_FALSE(message.line().split_known());
  EXPECT_EQ(message.forecast().capacity_limit(), "io_threads");
  EXPECT_EQ(message.forecast().receive_ms(), 0.025);
  EXPECT_TRUE(message.forecast().split_known());
  EXPECT_EQ(message.forecast().seconds_to_saturation(), 42);
  EXPECT_EQ(message.diagnosis().cause(), pb::BATCH_FORMATION_WAIT);
  EXPECT_FALSE(message.has_quality());
}

TEST(AnalysisMessagesTest, TellsLatenciesOperationsAndQuality) {
  ModelReport model = MakeModel("m", 1);
  model.latency_histogram = {.upper_ms = {0.5, 2}, .counts = {3, 1.5}};
  OperationReport& operation = model.operations.emplace_back();
  operation.name = "conv1";
  operation.bound = "L2";
  QualityReport& quality = model.quality.emplace();
  quality.labels = 2;
  quality.classes = {"a", "b"};
  quality.confusion = {1, 0, 1, 0};
  const pb::ModelReport message = ToProto(model);
  EXPECT_THAT(message.latency_histogram().upper_ms(), ElementsAre(0.5, 2));
  EXPECT_THAT(message.latency_histogram().counts(), ElementsAre(3, 1.5));
  EXPECT_EQ(message.operations(0).name(), "conv1");
  EXPECT_EQ(message.operations(0).share_of_limit(), -1);
  EXPECT_EQ(message.operations(0).bound(), "L2");
  EXPECT_EQ(message.quality().labels(), 2);
  EXPECT_EQ(message.quality().accuracy(), -1);
  EXPECT_THAT(message.quality().confusion(), ElementsAre(1, 0, 1, 0));
}

TEST(AnalysisMessagesTest, OneModelComesWithItsOwnWarningsAndTheHosts) {
  AnalysisReport report;
  report.models = {MakeModel("a", 1), MakeModel("b", 1), MakeModel("a", 2)};
  report.warnings = {MakeWarning(1, WarningReason::kMemoryPressure, ""),
                     MakeWarning(2, WarningReason::kOverloaded, "a"),
                     MakeWarning(3, WarningReason::kOverloaded, "b")};
  report.adaptations = {MakeAdaptation(1, Control::kMaxRows, "b"),
                        MakeAdaptation(2, Control::kMaxRows, "a")};
  const pb::Report all = ToProto(report, {});
  EXPECT_THAT(Names(all), ElementsAre("a", "b", "a"));
  EXPECT_EQ(all.warnings_size(), 3);
  const pb::Report one = ToProto(report, {}, "a");
  EXPECT_THAT(Names(one), ElementsAre("a", "a"));
  ASSERT_EQ(one.warnings_size(), 2);
  EXPECT_EQ(one.warnings(0).reason(), "memory_pressure");
  EXPECT_EQ(one.warnings(1).id(), 2);
  ASSERT_EQ(one.adaptations_size(), 1);
  EXPECT_EQ(one.adaptations(0).id(), 2);
}

TEST(AnalysisMessagesTest, ChangesOfTimesAreToldInMilliseconds) {
  Adaptation change = MakeAdaptation(1, Control::kMaxDelay, "m");
  change.from = 2e6;
  change.to = 5e5;
  const pb::Adaptation delay = ToProto(change);
  EXPECT_EQ(delay.control(), "max_delay");
  EXPECT_DOUBLE_EQ(delay.from(), 2);
  EXPECT_DOUBLE_EQ(delay.to(), 0.5);
  EXPECT_EQ(delay.realized_goodput_per_s(), -1);
  change.control = Control::kMaxRows;
  change.to = 32;
  const pb::Adaptation rows = ToProto(change);
  EXPECT_EQ(rows.to(), 32);
}

TEST(AnalysisMessagesTest, RequestsOfATimelineAreInTheOrderOfTheirArrival) {
  std::vector<RequestRecord> requests(2);
  requests[0].received_ns = 5'000'000;
  requests[0].total_ns = 2'000'000;
  requests[0].code = static_cast<uint8_t>(absl::StatusCode::kDeadlineExceeded);
  requests[1].received_ns = 3'000'000;
  requests[1].rows = 4;
  requests[1].batch_rows = 8;
  requests[1].stages[Stage::kCompute] = 250'000;
  requests[1].closed = BatchClosed::kFull;
  const std::vector<HistoryPoint> points = {{.unix_millis = 1, .cause = Cause::kOverload}};
  const pb::Timeline message = ToProto("m", 2, points, requests);
  EXPECT_EQ(message.model(), "m");
  EXPECT_EQ(message.version(), 2);
  EXPECT_EQ(message.points(0).cause(), pb::OVERLOAD);
  ASSERT_EQ(message.requests_size(), 2);
  EXPECT_EQ(message.requests(0).start_ms(), 0);
  EXPECT_EQ(message.requests(0).batch_rows(), 8);
  EXPECT_EQ(message.requests(0).stages(4).stage(), "compute");
  EXPECT_EQ(message.requests(0).stages(4).mean_ms(), 0.25);
  EXPECT_EQ(message.requests(0).batch_closed(), "full");
  EXPECT_EQ(message.requests(0).code(), "OK");
  EXPECT_EQ(message.requests(1).start_ms(), 2);
  EXPECT_EQ(message.requests(1).total_ms(), 2);
  EXPECT_EQ(message.requests(1).code(), "DEADLINE_EXCEEDED");
}

TEST(AnalysisMessagesTest, TellsWhereBatchesGoAndWherePartsAre) {
  ModelReport model = MakeModel("m", 1);
  EXPECT_FALSE(ToProto(model).has_routing());
  EXPECT_FALSE(ToProto(model).has_division());
  RoutingReport& routing = model.routing.emplace();
  routing.backends = {{.backend = "cpu"},
                      {.backend = "opencl",
                       .drift = 1.5,
                       .failed = true,
                       .batches = 7,
                       .reasons = {{"fastest", 5}, {"probe", 2}},
                       .recent_share = 0.25,
                       .wait_us = 12,
                       .break_even_rows = 16}};
  routing.sizes = {{.rows = 32,
                    .measured_us = {100, 50},
                    .predicted_us = {110, 75},
                    .goes_to = "opencl",
                    .reason = "fastest"}};
  model.division = {.mode = "tensor",
                    .parts = {{.name = "fc part 1 of 2",
                               .backend = "cpu",
                               .row_macs = 10,
                               .weight_bytes = 20,
                               .handed_bytes = 30,
                               .rows = 40,
                               .drift = 1.25}}};
  const pb::ModelReport message = ToProto(model);
  const pb::RouteBackend& device = message.routing().backends(1);
  EXPECT_EQ(message.routing().backends(0).backend(), "cpu");
  EXPECT_EQ(device.drift(), 1.5);
  EXPECT_TRUE(device.failed());
  EXPECT_EQ(device.batches(), 7);
  EXPECT_EQ(device.reasons().at("probe"), 2);
  EXPECT_EQ(device.recent_share(), 0.25);
  EXPECT_EQ(device.wait_us(), 12);
  EXPECT_EQ(device.break_even_rows(), 16);
  const pb::RouteSize& size = message.routing().sizes(0);
  EXPECT_EQ(size.rows(), 32);
  EXPECT_THAT(size.measured_us(), ElementsAre(100, 50));
  EXPECT_THAT(size.predicted_us(), ElementsAre(110, 75));
  EXPECT_EQ(size.goes_to() + " " + size.reason(), "opencl fastest");
  EXPECT_EQ(message.division().mode(), "tensor");
  const pb::Part& part = message.division().parts(0);
  EXPECT_EQ(part.name() + " " + part.backend(), "fc part 1 of 2 cpu");
  EXPECT_THAT((std::vector<double>{part.row_macs(), static_cast<double>(part.weight_bytes()),
                                   static_cast<double>(part.handed_bytes()),
                                   static_cast<double>(part.rows()), part.drift()}),
              ElementsAre(10, 20, 30, 40, 1.25));
}

TEST(AnalysisMessagesTest, JsonKeepsTheNamesOfTheFieldsAndPrintsZeros) {
  AnalysisReport report;
  report.models = {MakeModel("m", 1)};
  const std::string json = ReportJson(report, {});
  EXPECT_THAT(json, HasSubstr("\"unix_millis\":\"0\""));
  EXPECT_THAT(json, HasSubstr("\"seconds_to_saturation\":-1"));
  EXPECT_THAT(json, HasSubstr("\"cause\":\"UNKNOWN\""));
  pb::Report back;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(json, &back).ok());
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(back, ToProto(report, {})));
  EXPECT_THAT(TimelineJson("m", 1, {}, {}), HasSubstr("\"points\":[]"));
}

TEST(AnalysisMessagesTest, JsonStaysJsonWhateverTheNamesAndNumbersAre) {
  AnalysisReport report;
  report.models = {MakeModel("\xFF\"<script>\n", 1)};
  report.models[0].busy_share = std::numeric_limits<double>::quiet_NaN();
  const std::string json = ReportJson(report, {});
  EXPECT_THAT(json, HasSubstr("\"busy_share\":\"NaN\""));
  pb::Report back;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(json, &back).ok()) << json;
}

}  // namespace
}  // namespace bitmill
