#include "tools/text/json_reader.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

TEST(JsonReaderTest, ReadsEveryKindOfValue) {
  const auto json = ParseJson(
      "{\"n\": -1.5e2, \"list\": [true, false, null, {}],\n"
      " \"text\": \"a\\\"\\\\\\n\\u00e9\\ud83d\\ude00\xC3\xA9\"}");
  ASSERT_TRUE(json.ok()) << json.status();
  ASSERT_EQ(json->members.size(), 3U);
  EXPECT_EQ(json->members[0].second.number, -150.0);
  const JsonValue& list = json->members[1].second;
  ASSERT_EQ(list.list.size(), 4U);
  EXPECT_TRUE(list.list[0].boolean);
  EXPECT_FALSE(list.list[1].boolean);
  EXPECT_EQ(list.list[2].type, JsonValue::Type::kNull);
  EXPECT_EQ(list.list[3].type, JsonValue::Type::kObject);
  EXPECT_EQ(json->members[2].second.text, "a\"\\\n\xC3\xA9\xF0\x9F\x98\x80\xC3\xA9");
  EXPECT_EQ(json->members[2].second.line, 2);
}

TEST(JsonReaderTest, RefusesWhatIsNoJsonAndSaysWhere) {
  const struct {
    const char *text, *says;
  } cases[] = {
      {"", "line 1, column 1: expected a value, found the end of the file"},
      {"{\"a\": 1,\n  ]", "line 2, column 3: expected a key, found ']'"},
      {"{\"a\" 1}", "expected ':', found '1'"},
      {"[1 2]", "expected ',' or ']'"},
      {"[1,]", "expected a value, found ']'"},
      {"{\"a\": 1, \"a\": 2}", "line 1, column 10: key \"a\" again"},
      {"1 1", "expected the end of the file"},
      {"01", "expected the end of the file"},
      {"1.", "expected a digit"},
      {"-", "expected a digit"},
      {"1e999", "too large"},
      {"NaN", "expected a value"},
      {"\"a", "expected '\"'"},
      {"\"a\n\"", "expected the end of the text, found byte 0x0a"},
      {"\"\\x\"", "an unknown escape"},
      {"\"\\u12g4\"", "an unknown escape"},
      {"\"\\u-123\"", "an unknown escape"},
      {"\"\\ud800\"", "half a surrogate pair"},
      {"\"\\udc00\"", "half a surrogate pair"},
      {"\"\xFF\"", "no UTF-8"},
      {"\"\xC0\x80\"", "no UTF-8"},
      {"\"\xED\xA0\x80\"", "no UTF-8"},
      {"\"\xE2\x82\"", "no UTF-8"},
      {"tru", "expected a value"},
  };
  for (const auto& one : cases) {
    const auto json = ParseJson(one.text);
    EXPECT_TRUE(absl::IsInvalidArgument(json.status())) << one.text;
    EXPECT_THAT(json.status().message(), HasSubstr(one.says)) << one.text;
  }
}

TEST(JsonReaderTest, DepthHasALimit) {
  EXPECT_TRUE(ParseJson(std::string(20, '[') + std::string(20, ']')).ok());
  EXPECT_THAT(ParseJson(std::string(100'000, '[')).status().message(), HasSubstr("levels"));
}

TEST(JsonReaderTest, EveryPrefixOfADocumentIsRefused) {
  const std::string text = R"({"a": [1, {"b": "c\u0041"}], "d": null})";
  ASSERT_TRUE(ParseJson(text).ok());
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(ParseJson(text.substr(0, size)).ok()) << size;
  }
}

}  // namespace
}  // namespace bitmill
