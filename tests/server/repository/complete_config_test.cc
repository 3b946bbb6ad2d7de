#include "server/repository/complete_config.h"

#include <google/protobuf/text_format.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

Signature Images(bool batchable = true) {
  Signature signature;
  signature.inputs = {{"x", DType::kFloat32, {3, 8, 8}, 768}, {"mask", DType::kUInt8, {8}, 8}};
  signature.outputs = {{"y", DType::kInt64, {10}, 80}};
  signature.batchable = batchable;
  return signature;
}

GivenConfig Given(const std::string& text) {
  auto config = ParseModelConfig(text, "c");
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

absl::StatusOr<inference::ModelConfig> Complete(const std::string& text, const Signature& signature,
                                                int64_t default_max_rows = 64) {
  const GivenConfig given = Given(text);
  const auto settings = MakeSettings(given, "m", signature.batchable, default_max_rows);
  if (!settings.ok()) return settings.status();
  const auto complete = CompleteConfig(given, *settings, signature);
  if (!complete.ok()) return complete.status();
  inference::ModelConfig config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(*complete, &config));
  return config;
}

std::string ErrorOf(const std::string& text, const Signature& signature) {
  return std::string(Complete(text, signature).status().message());
}

TEST(CompleteConfigTest, DerivesEverythingFromTheModel) {
  const auto config = Complete("", Images());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name(), "m");
  EXPECT_EQ(config->platform(), "bitmill_onnx");
  EXPECT_EQ(config->max_batch_size(), 64);
  EXPECT_TRUE(config->has_dynamic_batching());
  EXPECT_EQ(config->version_policy().latest().num_versions(), 1U);
  ASSERT_EQ(config->input_size(), 2);
  EXPECT_EQ(config->input(0).name(), "x");
  EXPECT_EQ(config->input(0).data_type(), inference::TYPE_FP32);
  EXPECT_THAT(config->input(0).dims(), ::testing::ElementsAre(3, 8, 8));
  EXPECT_EQ(config->output(0).data_type(), inference::TYPE_INT64);
}

TEST(CompleteConfigTest, DerivesNoBatchingForAModelWithoutABatchDimension) {
  const auto config = Complete("", Images(false));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_batch_size(), 0);
  EXPECT_FALSE(config->has_dynamic_batching());
  EXPECT_THAT(config->input(0).dims(), ::testing::ElementsAre(3, 8, 8));
  EXPECT_EQ(MakeSettings(Given(""), "m", false, 64)->batch.max_rows, 1);
}

TEST(CompleteConfigTest, FillsInWhatIsMissingInTheOrderOfTheModel) {
  const auto config = Complete("input { name: \"mask\" format: FORMAT_NONE }", Images());
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->input_size(), 2);
  EXPECT_EQ(config->input(0).name(), "x");
  EXPECT_EQ(config->input(1).name(), "mask");
  EXPECT_EQ(config->input(1).data_type(), inference::TYPE_UINT8);
}

TEST(CompleteConfigTest, AWrittenZeroShowsRowsAsAFirstDimension) {
  const auto config =
      Complete("max_batch_size: 0 input { name: \"x\" dims: [-1, 3, 8, 8] }", Images());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->max_batch_size(), 0);
  EXPECT_THAT(config->input(0).dims(), ::testing::ElementsAre(-1, 3, 8, 8));
  const auto settings = MakeSettings(Given("max_batch_size: 0"), "m", true, 64);
  EXPECT_FALSE(settings->batch.dynamic);
  EXPECT_EQ(settings->batch.max_rows, 64);
}

TEST(CompleteConfigTest, NamesTensorSeenAndWanted) {
  EXPECT_THAT(ErrorOf("input {\n name: \"x\"\n data_type: TYPE_INT8 }", Images()),
              HasSubstr("c:3:2: input 'x': data_type TYPE_INT8, the model has TYPE_FP32"));
  EXPECT_THAT(ErrorOf("input {\n name: \"x\"\n dims: [3, 8] }", Images()),
              HasSubstr("input 'x': dims [3,8], the model has [3,8,8]"));
  EXPECT_THAT(ErrorOf("output { name: \"z\" }", Images()),
              HasSubstr("the model has no output 'z'; it has 'y'"));
  EXPECT_THAT(ErrorOf("name: \"other\"", Images()),
              HasSubstr("name 'other' differs from the folder 'm'"));
  EXPECT_THAT(ErrorOf("max_batch_size: 8", Images(false)), HasSubstr("no batch dimension"));
}

TEST(CompleteConfigTest, TakesAVariableDimensionForAnyValue) {
  EXPECT_TRUE(Complete("input { name: \"x\" dims: [-1, 8, -1] }", Images()).ok());
}

TEST(SettingsTest, CarriesTheBatchingOfTheFile) {
  const auto settings = MakeSettings(
      Given("max_batch_size: 16 dynamic_batching { preferred_batch_size: [8, 4, 8] "
            "max_queue_delay_microseconds: 250 default_queue_policy { max_queue_size: 7 "
            "default_timeout_microseconds: 9000 allow_timeout_override: true } }"),
      "m", true, 64);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_TRUE(settings->batch.dynamic);
  EXPECT_EQ(settings->batch.max_rows, 16);
  EXPECT_EQ(settings->batch.preferred_rows, (std::vector<int64_t>{4, 8}));
  EXPECT_EQ(settings->batch.max_delay_us, 250);
  EXPECT_EQ(settings->batch.max_queue_requests, 7);
  EXPECT_EQ(settings->batch.default_timeout_us, 9000);
  EXPECT_TRUE(settings->batch.allow_timeout_override);
}

TEST(SettingsTest, GathersWheneverBatchesAreAllowed) {
  EXPECT_TRUE(MakeSettings(Given("max_batch_size: 8"), "m", true, 64)->batch.dynamic);
  EXPECT_FALSE(MakeSettings(Given("max_batch_size: 1"), "m", true, 64)->batch.dynamic);
}

TEST(SettingsTest, RefusesAPreferredSizeAboveTheLimit) {
  const auto settings = MakeSettings(
      Given("max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }"), "m", true, 64);
  EXPECT_THAT(std::string(settings.status().message()),
              HasSubstr("preferred_batch_size 8 is above max_batch_size 4"));
}

TEST(SettingsTest, AddsUpInstancesAndKeepsParameters) {
  const auto settings = MakeSettings(
      Given("instance_group [ { count: 2 }, { } ] parameters { key: \"a\" value { string_value: "
            "\"b\" } }"),
      "m", true, 64);
  EXPECT_EQ(settings->instances, 3);
  EXPECT_EQ(settings->parameters.at("a"), "b");
}

TEST(SettingsTest, CarriesTheObjectiveAndWhetherToFollowIt) {
  const auto settings = [](const std::string& text) {
    return *MakeSettings(Given(text), "m", true, 64);
  };
  const std::string adapt_on = "parameters { key: \"adapt\" value { string_value: \"on\" } }";
  const std::string adapt_off = "parameters { key: \"adapt\" value { string_value: \"off\" } }";
  EXPECT_EQ(settings("").slo_p99_ms, 0);
  EXPECT_EQ(settings("").adapt, AdaptMode::kOff);
  EXPECT_EQ(settings("slo { p99_ms: 7.5 }").slo_p99_ms, 7.5);
  EXPECT_EQ(settings("slo { p99_ms: 7.5 }").adapt, AdaptMode::kAdvise);
  EXPECT_EQ(settings("slo { p99_ms: 7.5 }" + adapt_on).adapt, AdaptMode::kOn);
  EXPECT_EQ(settings("slo { p99_ms: 7.5 }" + adapt_off).adapt, AdaptMode::kOff);
}

TEST(CompleteConfigTest, ShowsTheObjectiveAsAParameterThatEveryClientCanRead) {
  const auto config = Complete("slo { p99_ms: 7.5 }", Images());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->parameters().at("slo_p99_ms").string_value(), "7.5");
  EXPECT_FALSE(config->has_slo());
}

}  // namespace
}  // namespace bitmill
