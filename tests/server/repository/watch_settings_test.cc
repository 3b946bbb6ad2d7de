#include "server/repository/watch_settings.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/repository/model_config.h"
#include "server/repository/promoted_version.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<WatchSettings> Parse(const std::map<std::string, std::string>& parameters) {
  return ParseWatchSettings([&](const char* key) {
    const auto found = parameters.find(key);
    return found == parameters.end() ? std::string() : found->second;
  });
}

TEST(WatchSettingsTest, NothingIsWatchedUnlessAskedFor) {
  const auto settings = Parse({});
  ASSERT_TRUE(settings.ok());
  EXPECT_FALSE(settings->on);
  EXPECT_FALSE(settings->shadow);
}

TEST(WatchSettingsTest, ReadsEveryParameter) {
  const auto settings = Parse({{"watch", "on"},
                               {"watch_task", "value"},
                               {"watch_memory_mib", "3"},
                               {"watch_memory_seconds", "10"},
                               {"watch_reference_rows", "600"},
                               {"watch_window_rows", "1500"},
                               {"watch_window_seconds", "30"},
                               {"watch_window_labels", "200"},
                               {"watch_margin", "on"},
                               {"shadow", "on"},
                               {"shadow_share", "0.5"},
                               {"shadow_tolerance", "0.25"},
                               {"promote_min_agreement", "0.9"},
                               {"promote_min_compared", "11"},
                               {"promote_max_accuracy_drop", "0.125"},
                               {"promote_min_labels", "12"},
                               {"promote_max_error_share", "0.0625"},
                               {"promote_max_latency_ratio", "1.5"}});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_TRUE(settings->on);
  EXPECT_EQ(settings->task, WatchTask::kValue);
  EXPECT_EQ(settings->memory_bytes, 3 << 20);
  EXPECT_EQ(settings->memory_seconds, 10);
  EXPECT_EQ(settings->reference_rows, 600);
  EXPECT_EQ(settings->window_rows, 1500);
  EXPECT_EQ(settings->window_seconds, 30);
  EXPECT_EQ(settings->window_labels, 200);
  EXPECT_TRUE(settings->margin);
  EXPECT_TRUE(settings->shadow);
  EXPECT_EQ(settings->shadow_share, 0.5);
  EXPECT_EQ(settings->shadow_tolerance, 0.25);
  EXPECT_EQ(settings->guards.min_agreement, 0.9);
  EXPECT_EQ(settings->guards.min_compared, 11);
  EXPECT_EQ(settings->guards.max_accuracy_drop, 0.125);
  EXPECT_EQ(settings->guards.min_labels, 12);
  EXPECT_EQ(settings->guards.max_error_share, 0.0625);
  EXPECT_EQ(settings->guards.max_latency_ratio, 1.5);
}

TEST(WatchSettingsTest, NamesTheParameterThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {{"watch", "yes"},
                                                       {"shadow", "1"},
                                                       {"watch_task", "regression"},
                                                       {"watch_memory_mib", "0"},
                                                       {"watch_memory_mib", "4097"},
                                                       {"watch_reference_rows", "499"},
                                                       {"watch_window_rows", "many"},
                                                       {"shadow_share", "1.5"},
                                                       {"shadow_share", "nan"},
                                                       {"promote_min_agreement", "-0.1"},
                                                       {"promote_max_latency_ratio", "0"}};
  for (const auto& [key, value] : cases) {
    const absl::Status status = Parse({{key, value}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << " " << value;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::string("parameter '") + key + "' is '" + value + "', expected "));
  }
}

TEST(WatchSettingsTest, AConfigurationWithAWrongOneIsRefusedWithItsPlace) {
  const auto config =
      ParseModelConfig("name: 'm'\nparameters { key: 'shadow_share' value { string_value: '2' } }",
                       "m/config.pbtxt");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(config.status().message()),
              HasSubstr("m/config.pbtxt:2:1: parameter 'shadow_share' is '2', expected 0 to 1"));
}

TEST(ChooseAnsweringTest, KeepsWhatAnswersAndHoldsTheNewestBack) {
  EXPECT_EQ(ChooseAnswering(0, {1}), 1);
  EXPECT_EQ(ChooseAnswering(0, {1, 2}), 1);
  EXPECT_EQ(ChooseAnswering(0, {1, 2, 5}), 2);
  EXPECT_EQ(ChooseAnswering(1, {1, 2, 5}), 1);
  EXPECT_EQ(ChooseAnswering(5, {1, 2, 5}), 5);
  EXPECT_EQ(ChooseAnswering(4, {1, 2, 5}), 2);
}

}  // namespace
}  // namespace bitmill
