// infer, inspect and bench through their functions, on the shipped models.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tools/bench/bench_result.h"
#include "tools/bench/model_bench.h"
#include "tools/cmd_bench.h"
#include "tools/cmd_infer.h"
#include "tools/cmd_inspect.h"
#include "tools/local/local_model.h"

namespace bitmill {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStdout;

std::string Source(const std::string& path) { return absl::StrCat(BITMILL_SOURCE_DIR, "/", path); }

InferOptions GoldenRun() {
  InferOptions options;
  options.model = Source("models/repository/fmnist_tfc_w1a1");
  options.golden = Source("models/golden/fmnist_tfc_w1a1.npz");
  return options;
}

TEST(InferTest, MatchesTheGoldenOutputs) {
  CaptureStdout();
  const auto status = RunInfer(GoldenRun());
  EXPECT_THAT(GetCapturedStdout(), HasSubstr("golden: matches"));
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(*status, 0);
}

TEST(InferTest, AGoldenOfAnotherModelFails) {
  InferOptions options = GoldenRun();
  options.golden = Source("models/golden/fmnist_wide_w1a1.npz");
  CaptureStdout();
  const auto status = RunInfer(options);
  EXPECT_THAT(GetCapturedStdout(), HasSubstr("golden: DIFFERS"));
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(*status, 1);
}

TEST(InferTest, AccuracyOfTheShippedImages) {
  InferOptions options;
  options.model = Source("models/repository/fmnist_tfc_w1a1");
  options.input = {{Source("models/data/fashion_mnist_test_1000.npz")}, "labels"};
  options.json = true;
  CaptureStdout();
  const auto status = RunInfer(options);
  google::protobuf::Struct json;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(GetCapturedStdout(), &json).ok());
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_NEAR(json.fields().at("accuracy").number_value(), 0.80, 0.04);
  EXPECT_EQ(json.fields().at("classes").list_value().values_size(), 1000);
}

TEST(InferTest, SaysWhatIsMissing) {
  InferOptions options = GoldenRun();
  options.golden.clear();
  EXPECT_THAT(RunInfer(options).status().message(), HasSubstr("--input FILE or --golden FILE"));
  options.input.files = {Source("models/golden/digits_w1a1.npz:x")};
  EXPECT_THAT(RunInfer(options).status().message(),
              AllOf(HasSubstr("digits_w1a1.npz"), HasSubstr("[1,28,28]")));
}

TEST(InspectTest, ShowsPortsWeightsAndPlan) {
  InspectOptions options;
  options.model = Source("models/repository/fmnist_tfc_w1a1");
  options.plan = true;
  options.reference = true;
  CaptureStdout();
  const absl::Status status = RunInspect(options);
  const std::string text = GetCapturedStdout();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(text, AllOf(HasSubstr("[N,1,28,28]"), HasSubstr("1-bit"), HasSubstr("bconv"),
                          HasSubstr("BipolarQuant"), HasSubstr("arena")));
}

TEST(InspectTest, ShowsThePartsOfADividedModel) {
  InspectOptions options;
  options.model = Source("models/repository/fmnist_wide_w1a1");
  options.plan_cache = "off";
  options.max_rows = 8;
  for (const auto& [how, shown] : std::vector<std::pair<std::string, std::string>>{
           {"data:2", " of 8"}, {"pipeline:2", "stage 2"}, {"tensor:2", "part 2 of 2"}}) {
    options.parallel = how;
    CaptureStdout();
    const absl::Status status = RunInspect(options);
    const std::string text = GetCapturedStdout();
    ASSERT_TRUE(status.ok()) << status;
    const std::string mode = how.substr(0, how.find(':'));
    EXPECT_THAT(text, AllOf(HasSubstr("divided, " + mode + ":\n"), HasSubstr(shown)));
  }
}

TEST(InspectTest, SaysWhatPlacesCannotHave) {
  InspectOptions options;
  options.model = Source("models/repository/fmnist_wide_w1a1");
  options.plan_cache = "off";
  options.parallel = "data:0";
  EXPECT_THAT(RunInspect(options).message(), HasSubstr("'data:0', expected 'off', 'auto'"));
  options.parallel = "data:2";
  options.precision.precision = "bf16";
  EXPECT_THAT(RunInspect(options).message(), HasSubstr("on the CPU, not divided"));
}

TEST(InspectTest, CountsWeightsByKind) {
  const auto graph = ReadModelFile(Source("models/repository/fmnist_wide_ternary_w158a8"));
  ASSERT_TRUE(graph.ok()) << graph.status();
  const auto weights = DescribeWeights(*graph);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(*weights, HasSubstr("ternary       5  932,928"));
}

TEST(BenchTest, AModelIsNotFasterThanItsCeiling) {
  ModelBenchOptions options;
  options.batches = {1, 4};
  options.isa = "ref";
  options.seconds = 0.01;
  options.profile_repetitions = 3;
  Roofline fast;
  fast.per_s.fill(1e13);
  const auto results = BenchModel(Source("models/repository/digits_w1a1"), options, fast);
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(results->size(), 2u);
  EXPECT_EQ(results->front().name, "digits_w1a1");
  EXPECT_EQ(results->back().batch, 4);
  for (const BenchResult& result : *results) {
    EXPECT_GT(result.value, 0.0);
    EXPECT_GT(result.share, 0.0);
    EXPECT_LT(result.share, 1.0);
    EXPECT_FALSE(result.steps.empty());
  }
}

TEST(BenchTest, LoadsWithAndWithoutThePlan) {
  const std::string folder = testing::TempDir() + "bench_plans";
  ModelBenchOptions options;
  options.batches = {1};
  options.isa = "ref";
  options.seconds = 0.01;
  options.profile_repetitions = 3;
  options.tune_seconds = 0.01;
  options.plan_cache = ParsePlanCache(folder);
  options.plan_cache.min_compile_ms = 0;
  const auto results = BenchModel(Source("models/repository/digits_w1a1"), options, {});
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(results->size(), 3U);
  EXPECT_EQ((*results)[0].kind, "load, compiled");
  EXPECT_EQ((*results)[1].kind, "load, from plan");
  EXPECT_EQ((*results)[2].kind, "model");
  for (const BenchResult& result : *results) EXPECT_GT(result.value, 0.0);
  for (const BenchStep& step : results->back().steps) EXPECT_GT(step.predicted, 0.0) << step.name;
  EXPECT_THAT(ResultsText({results->back()}), HasSubstr("measured / predicted"));

  options.plan_cache = ParsePlanCache("/dev/null/not/a/folder");
  options.plan_cache.min_compile_ms = 0;
  EXPECT_TRUE(absl::IsFailedPrecondition(
      BenchModel(Source("models/repository/digits_w1a1"), options, {}).status()));
  BenchOptions fast;
  fast.precision.precision = "fast";
  fast.plan_cache = folder;
  EXPECT_TRUE(absl::IsInvalidArgument(RunBench(fast).status()));
}

TEST(TuneOptionTest, TakesSecondsOrNone) {
  const auto parse = [](std::vector<std::string> arguments) {
    CLI::App app;
    BenchOptions options;
    AddBenchOptions(app, options);
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
    return std::make_pair(options.tune_seconds, options.models);
  };
  const std::vector<std::string> model = {"m"};
  EXPECT_EQ(parse({"m"}), std::make_pair(0.0, model));
  EXPECT_EQ(parse({"--tune", "m"}), std::make_pair(1.0, model));
  EXPECT_EQ(parse({"--tune=2.5", "m"}), std::make_pair(2.5, model));
  EXPECT_THROW(parse({"--tune=-1", "m"}), CLI::ParseError);
}

TEST(BenchTest, TheBatchListEndsBeforeTheModels) {
  CLI::App app;
  BenchOptions options;
  AddBenchOptions(app, options);
  std::vector<std::string> backwards = {"other", "model", "64", "-b", "1,8", "-b"};
  app.parse(backwards);
  EXPECT_EQ(options.batches, (std::vector<int64_t>{1, 8, 64}));
  EXPECT_EQ(options.models, (std::vector<std::string>{"model", "other"}));
}

TEST(BenchTest, ModelsMayTakeHalfPrecision) {
  ModelBenchOptions options;
  options.batches = {1};
  options.isa = "ref";
  options.seconds = 0.001;
  options.profile_repetitions = 1;
  Roofline fast;
  fast.per_s.fill(1e13);
  const auto results =
      BenchModel(Source("tests/fuzz/corpus/onnx_reader_fuzz/float16_graph.onnx"), options, fast);
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_GT(results->front().value, 0.0);
}

TEST(BenchTest, AReportKnowsModelsByTheirNames) {
  BenchOptions options;
  options.report = testing::TempDir() + "never_written.json";
  options.models = {Source("models/repository/digits_w1a1"),
                    Source("models/repository/digits_w1a1/1/model.onnx")};
  EXPECT_THAT(RunBench(options).status().message(), HasSubstr("both called 'digits_w1a1'"));
  options.models.pop_back();
  options.json = "-";
  EXPECT_THAT(RunBench(options).status().message(), HasSubstr("--report is for"));
}

TEST(BenchTest, RooflineIsAResultPerCeilingAndThreadCount) {
  const std::string file = testing::TempDir() + "roofline.json";
  BenchOptions options;
  options.suite = "roofline";
  options.isa = "ref";
  options.threads = 2;
  options.quick = true;
  options.json = file;
  ASSERT_TRUE(RunBench(options).ok());
  google::protobuf::Struct json;
  const absl::StatusOr<std::string> text = ReadFile(file);
  ASSERT_TRUE(text.ok()) << text.status();
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(*text, &json).ok());
  const auto& results = json.fields().at("results").list_value().values();
  ASSERT_EQ(results.size(), 2 * kCeilingCount);
  for (int i = 0; i < results.size(); ++i) {
    const auto& result = results[i].struct_value().fields();
    EXPECT_EQ(result.at("threads").number_value(), i < kCeilingCount ? 1 : 2);
    EXPECT_GT(result.at("value").number_value(), 0.0);
  }
}

TEST(BenchTest, JsonHasWhatItPromises) {
  BenchReport report;
  report.ceilings.emplace_back();
  report.results.push_back({.name = "a",
                            .kind = "model",
                            .shape = "[4]",
                            .batch = 8,
                            .threads = 2,
                            .isa = "ref",
                            .unit = "us/row",
                            .value = 2.0,
                            .ceiling = 1.0,
                            .share = 0.5,
                            .spread = 0.1,
                            .steps = {}});
  google::protobuf::Struct json;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(BenchJson(report), &json).ok());
  EXPECT_TRUE(json.fields().at("machine").struct_value().fields().contains("cpu"));
  EXPECT_TRUE(json.fields().at("ceilings").struct_value().fields().contains("bit_macs_per_s"));
  const auto& result = json.fields().at("results").list_value().values(0).struct_value().fields();
  for (const char* key : {"name", "kind", "shape", "batch", "threads", "isa", "value", "unit",
                          "ceiling", "share", "spread"}) {
    EXPECT_TRUE(result.contains(key)) << key;
  }
}

TEST(BenchTest, SparseResultsAreShownWithTheirBreakEven) {
  const SparseResult sparse = {.name = "bconv_avx2",
                               .kind = "sparse ternary x 1 bit conv",
                               .shape = "14x14x256 3x3",
                               .isa = "avx2",
                               .group_channels = 32,
                               .points = {{0.25, 3.5, 0.01}, {1.0, 0.9, 0.02}},
                               .break_even = 0.85,
                               .compiled_below = 0.8};
  const std::string text = SparseText({sparse});
  EXPECT_TRUE(absl::StrContains(text, "at 25 %")) << text;
  EXPECT_TRUE(absl::StrContains(text, "3.50 x")) << text;
  EXPECT_TRUE(absl::StrContains(text, "break-even density: bconv_avx2 ternary x 1 bit conv 85 %"))
      << text;
  BenchReport report;
  report.ceilings.emplace_back();
  report.sparse = {sparse};
  google::protobuf::Struct json;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(BenchJson(report), &json).ok());
  const auto& result = json.fields().at("sparse").list_value().values(0).struct_value().fields();
  EXPECT_EQ(result.at("break_even").number_value(), 0.85);
  EXPECT_EQ(result.at("group_channels").number_value(), 32);
  ASSERT_EQ(result.at("points").list_value().values_size(), 2);
  EXPECT_EQ(
      result.at("points").list_value().values(0).struct_value().fields().at("speed").number_value(),
      3.5);
}

TEST(BenchTest, UnknownInstructionSetsAndModelsAreErrors) {
  BenchOptions options;
  options.quick = true;
  options.isa = "mmx";
  EXPECT_TRUE(absl::IsInvalidArgument(RunBench(options).status()));
  ModelBenchOptions bench;
  EXPECT_TRUE(absl::IsNotFound(BenchModel("/no/such/model", bench, {}).status()));
}

}  // namespace
}  // namespace bitmill
