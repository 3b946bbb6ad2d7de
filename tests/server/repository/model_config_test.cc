#include "server/repository/model_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::Status StatusOf(const std::string& text) {
  return ParseModelConfig(text, "m/config.pbtxt").status();
}
std::string MessageOf(const std::string& text) { return std::string(StatusOf(text).message()); }

TEST(ModelConfigTest, ReadsAFileOfAnotherServer) {
  const auto config = ParseModelConfig(R"(
    name: "digits"
    platform: "onnxruntime_onnx"
    max_batch_size: 32
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 1, 28, 28 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 10 ] } ]
    dynamic_batching { preferred_batch_size: [ 8, 16 ] max_queue_delay_microseconds: 100 }
    instance_group [ { count: 2 kind: KIND_CPU } ]
    version_policy { specific { versions: [ 1, 3 ] } }
    parameters { key: "owner" value { string_value: "me" } }
  )",
                                       "m/config.pbtxt");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->proto.name(), "digits");
  EXPECT_TRUE(config->has_max_batch_size);
  EXPECT_THAT(config->ignored, IsEmpty());
  EXPECT_EQ(VersionPolicyOf(config->proto).kind, VersionPolicy::Kind::kSpecific);
  EXPECT_EQ(VersionPolicyOf(config->proto).specific, (std::vector<int64_t>{1, 3}));
}

TEST(ModelConfigTest, TellsAWrittenZeroFromNothingWritten) {
  EXPECT_TRUE(ParseModelConfig("max_batch_size: 0", "c")->has_max_batch_size);
  EXPECT_FALSE(ParseModelConfig("", "c")->has_max_batch_size);
}

TEST(ModelConfigTest, NamesLineAndColumnOfASyntaxError) {
  EXPECT_EQ(StatusOf("name: \"m\"\nmax_batch_size: \"many\"\n").code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(MessageOf("name: \"m\"\nmax_batch_size: \"many\"\n"),
              HasSubstr("m/config.pbtxt:2:17: "));
  EXPECT_THAT(MessageOf("name: \"m\"\ninput {"), HasSubstr("m/config.pbtxt:2:"));
}

TEST(ModelConfigTest, RefusesUnknownFieldsByName) {
  EXPECT_THAT(MessageOf("\n\nmax_batchsize: 3"), HasSubstr("m/config.pbtxt:3:"));
  EXPECT_THAT(MessageOf("\n\nmax_batchsize: 3"), HasSubstr("max_batchsize"));
}

TEST(ModelConfigTest, NamesThePlaceOfAWrongValue) {
  EXPECT_THAT(MessageOf("name: \"m\"\nmax_batch_size: -3"),
              HasSubstr("m/config.pbtxt:2:1: max_batch_size -3, expected 0 to 65535"));
  EXPECT_THAT(MessageOf("platform: \"tensorflow_savedmodel\""),
              HasSubstr("'tensorflow_savedmodel'"));
  EXPECT_THAT(MessageOf("backend: \"python\""), HasSubstr("'python'"));
  EXPECT_THAT(MessageOf("input {\n name: \"x\"\n dims: [ 3, 0 ]\n}"),
              HasSubstr(":3:2: input 'x' has dimension 0"));
  EXPECT_THAT(MessageOf("input { name: \"x\" }\ninput { name: \"x\" }"),
              HasSubstr(":2:9: input 'x' is listed twice"));
  EXPECT_THAT(MessageOf("input { dims: 3 }"), HasSubstr("input without a name"));
  EXPECT_THAT(MessageOf("version_policy { specific { versions: 0 } }"), HasSubstr("version 0"));
  EXPECT_THAT(MessageOf("version_policy { specific { } }"), HasSubstr("no versions"));
  EXPECT_THAT(MessageOf("default_model_filename: \"../x.onnx\""), HasSubstr("'../x.onnx'"));
  EXPECT_THAT(MessageOf("instance_group { count: 2000 }"), HasSubstr("2000 instances"));
  EXPECT_THAT(MessageOf("instance_group { kind: KIND_CPU gpus: 0 }"),
              HasSubstr("KIND_CPU with gpus"));
  EXPECT_THAT(MessageOf("dynamic_batching { max_queue_delay_microseconds: 99999999999999 }"),
              HasSubstr("max_queue_delay_microseconds 99999999999999"));
  EXPECT_THAT(MessageOf("model_warmup { count: 4000000000 }"), HasSubstr("4000000000 warm-up"));
  EXPECT_THAT(
      MessageOf("model_warmup { inputs { key: \"x\" value { input_data_file: \"a/b\" } } }"),
      HasSubstr("'a/b'"));
}

class RefusedFeatureTest : public ::testing::TestWithParam<const char*> {};

TEST_P(RefusedFeatureTest, IsUnimplementedWithItsPlace) {
  const std::string text = std::string("name: \"m\"\n") + GetParam();
  EXPECT_EQ(StatusOf(text).code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(MessageOf(text), HasSubstr("m/config.pbtxt:2:"));
}

INSTANTIATE_TEST_SUITE_P(
    Features, RefusedFeatureTest,
    ::testing::Values("sequence_batching { }", "ensemble_scheduling { }",
                      "batch_input { kind: BATCH_ELEMENT_COUNT }", "batch_output { }",
                      "input { name: \"x\" reshape { shape: 1 } }",
                      "input { name: \"x\" allow_ragged_batch: true }",
                      "input { name: \"x\" optional: true }",
                      "output { name: \"x\" is_shape_tensor: true }",
                      "instance_group { kind: KIND_GPU }\n"
                      "parameters { key: \"backend\" value { string_value: \"opencl\" } }",
                      "instance_group { gpus: 0 }\n"
                      "parameters { key: \"backend\" value { string_value: \"auto\" } }",
                      "instance_group [ { kind: KIND_GPU }, { kind: KIND_CPU } ]",
                      "model_operations { op_library_filename: \"x.so\" }",
                      "model_transaction_policy { decoupled: true }",
                      "model_repository_agents { agents { name: \"checksum\" } }",
                      "cc_model_filenames { key: \"7.5\" value: \"x\" }"));

TEST(ModelConfigTest, AcceptsWhatHasNoEffectAndSaysSo) {
  const auto config = ParseModelConfig(
      "optimization { graph { level: 1 } }\nresponse_cache { enable: true }\n"
      "dynamic_batching { preserve_ordering: true }\noutput { name: \"y\" label_filename: \"l\" }",
      "c");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->ignored.size(), 4U);
  EXPECT_THAT(config->ignored, ::testing::Contains("c:1:1: optimization has no effect"));
}

TEST(ModelConfigTest, RefusesTooLargeTooDeepAndUnprintable) {
  EXPECT_THAT(MessageOf(std::string(kMaxConfigBytes + 1, ' ')), HasSubstr("the limit is 1048576"));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "optimization { ";
  EXPECT_EQ(StatusOf(deep).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusOf(std::string("name: \"a\0b\"", 11)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(MessageOf("name: \"\\xff\\xfe\""), HasSubstr("UTF-8"));
  EXPECT_EQ(StatusOf(std::string("\xff\xfe\x00", 3)).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ModelConfigTest, KeepsMessagesShortAndPrintable) {
  const std::string message = MessageOf("x" + std::string(10'000, 'y') + ": 1");
  EXPECT_LT(message.size(), 600U);
  EXPECT_LT(MessageOf("platform: \"" + std::string(10'000, 'y') + "\"").size(), 600U);
  EXPECT_EQ(MessageOf("platform: \"a\\nb\"").find('\n'), std::string::npos);
}

std::string Parameter(const std::string& key, const std::string& value) {
  return "parameters { key: \"" + key + "\" value { string_value: \"" + value + "\" } }\n";
}

TEST(ModelConfigTest, KeepsAnObjectiveAsAParameterHoweverItIsWritten) {
  const auto field = ParseModelConfig("slo { p99_ms: 10 }", "c");
  ASSERT_TRUE(field.ok()) << field.status();
  EXPECT_EQ(field->proto.parameters().at("slo_p99_ms").string_value(), "10");
  EXPECT_FALSE(field->proto.has_slo()) << "other servers' clients do not know it";
  const auto parameter = ParseModelConfig(Parameter("slo_p99_ms", "2.5"), "c");
  ASSERT_TRUE(parameter.ok()) << parameter.status();
  EXPECT_EQ(parameter->proto.parameters().at("slo_p99_ms").string_value(), "2.5");
}

TEST(ModelConfigTest, ChecksWhatIsSaidOfMemoryAndPower) {
  const std::pair<const char*, const char*> right[] = {{"evict", "on"},
                                                       {"evict", "off"},
                                                       {"power_max_watts", "40.5"},
                                                       {"power_prefer", "efficiency"},
                                                       {"power_prefer", "speed"}};
  for (const auto& [key, value] : right) {
    EXPECT_TRUE(ParseModelConfig(Parameter(key, value), "c").ok()) << key << " " << value;
  }
  EXPECT_THAT(MessageOf(Parameter("evict", "never")),
              HasSubstr("parameter 'evict' is 'never', expected 'on' or 'off'"));
  for (const char* const watts : {"0", "-3", "many", "nan", "1000001"}) {
    EXPECT_THAT(MessageOf(Parameter("power_max_watts", watts)),
                HasSubstr("expected more than 0, at most 1000000"));
  }
  EXPECT_THAT(MessageOf(Parameter("power_prefer", "luck")),
              HasSubstr("expected 'speed' or 'efficiency'"));
}

TEST(ModelConfigTest, NamesAWrongObjectiveOrMode) {
  EXPECT_THAT(MessageOf("\nslo { p99_ms: -3 }"),
              HasSubstr("m/config.pbtxt:2:7: p99_ms -3, expected 0.01 to 600000 milliseconds"));
  EXPECT_THAT(MessageOf("slo { }"), HasSubstr("p99_ms 0, expected 0.01"));
  EXPECT_THAT(MessageOf(Parameter("slo_p99_ms", "fast")),
              HasSubstr("parameter 'slo_p99_ms' is 'fast', expected 0.01 to 600000"));
  EXPECT_THAT(MessageOf(Parameter("slo_p99_ms", "nan")), HasSubstr("'slo_p99_ms' is 'nan'"));
  EXPECT_THAT(MessageOf(Parameter("slo_p99_ms", "5") + "slo { p99_ms: 5 }"),
              HasSubstr(":2:1: slo and the parameter 'slo_p99_ms', expected one of them"));
  EXPECT_THAT(MessageOf(Parameter("slo_p99_ms", "5") + Parameter("adapt", "yes")),
              HasSubstr("parameter 'adapt' is 'yes', expected 'off', 'advise' or 'on'"));
  EXPECT_THAT(MessageOf(Parameter("adapt", "on")), HasSubstr("which wants an objective"));
  EXPECT_TRUE(StatusOf(Parameter("adapt", "off")).ok());
}

TEST(ModelConfigTest, NamesAWrongWayToDivideAModel) {
  EXPECT_THAT(MessageOf(Parameter("parallel", "rows:2")),
              HasSubstr("m/config.pbtxt:1:1: parameter 'parallel' is 'rows:2', expected 'off'"));
  EXPECT_THAT(MessageOf(Parameter("parallel", "tensor:0")), HasSubstr("is 'tensor:0', expected"));
  for (const char* way : {"off", "auto", "data:2", "tensor:3", "pipeline:cpu,opencl"}) {
    EXPECT_TRUE(StatusOf(Parameter("parallel", way)).ok()) << way;
  }
}

TEST(ModelConfigTest, LatestCountsOneWhenNothingIsGiven) {
  EXPECT_EQ(VersionPolicyOf(ParseModelConfig("version_policy { latest { } }", "c")->proto).latest,
            1);
  EXPECT_EQ(
      VersionPolicyOf(ParseModelConfig("version_policy { latest { num_versions: 3 } }", "c")->proto)
          .latest,
      3);
  EXPECT_EQ(VersionPolicyOf(ParseModelConfig("version_policy { all { } }", "c")->proto).kind,
            VersionPolicy::Kind::kAll);
}

}  // namespace
}  // namespace bitmill
