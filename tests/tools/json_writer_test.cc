#include "tools/text/json_writer.h"

#include <cmath>

#include "gtest/gtest.h"

namespace bitmill {
namespace {

TEST(JsonWriterTest, NestsObjectsAndLists) {
  JsonWriter json;
  json.BeginObject().Key("name").String("digits").Key("rows").Int(3);
  json.Key("values").BeginArray().Double(0.5).Int(-1).EndArray();
  json.Key("parts").BeginArray().BeginObject().Key("ok").Bool(true).EndObject().EndArray();
  json.Key("none").Null().EndObject();
  EXPECT_EQ(json.text(),
            "{\n  \"name\": \"digits\",\n  \"rows\": 3,\n  \"values\": [0.5, -1],\n"
            "  \"parts\": [\n    {\n      \"ok\": true\n    }\n  ],\n  \"none\": null\n}\n");
}

TEST(JsonWriterTest, EmptyContainersStayOnOneLine) {
  JsonWriter json;
  json.BeginObject().Key("a").BeginArray().EndArray().Key("b").BeginObject().EndObject();
  json.EndObject();
  EXPECT_EQ(json.text(), "{\n  \"a\": [],\n  \"b\": {}\n}\n");
}

TEST(JsonWriterTest, EscapesText) {
  JsonWriter json;
  json.String("a\"b\\c\nd\te\x01");
  EXPECT_EQ(json.text(), "\"a\\\"b\\\\c\\nd\\u0009e\\u0001\"");
}

TEST(JsonWriterTest, NumbersThatJsonLacksAreNull) {
  JsonWriter json;
  json.BeginArray().Double(std::nan("")).Double(HUGE_VAL).Double(0.1).EndArray();
  EXPECT_EQ(json.text(), "[null, null, 0.1]\n");
}

}  // namespace
}  // namespace bitmill
