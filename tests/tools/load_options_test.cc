// The arguments of `bitmill load`, and the shape of its report.
#include "CLI/CLI.hpp"
#include "gmock/gmock.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "tools/address_option.h"
#include "tools/cmd_load.h"
#include "tools/load/load_report.h"
#include "tools/load/prepare.h"

namespace bitmill {
namespace {

TEST(AddressOptionTest, SaysWhatIsWrong) {
  for (const char* const good :
       {"127.0.0.1:8001", "host:1", "[::1]:65535", "unix:/tmp/a", "dns:///a"}) {
    EXPECT_EQ(WhatIsWrongWithAddress(good), "") << good;
  }
  for (const char* const bad : {"", ":", ":1", "host", "host:", "host:0", "host:65536", "host:x",
                                "::1:8001", "http://host:1", "https://host"}) {
    EXPECT_NE(WhatIsWrongWithAddress(bad).find("expected HOST:PORT"), std::string::npos) << bad;
  }
}

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The exit code of CLI11: 0 when the arguments are fine.
int Parse(std::vector<std::string> arguments, LoadOptions* options) {
  CLI::App app;
  AddLoadOptions(app, *options);
  std::reverse(arguments.begin(), arguments.end());
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code();
  }
  return 0;
}

TEST(LoadOptionsTest, ListsAreSweeps) {
  LoadOptions options;
  ASSERT_EQ(Parse({"localhost:1", "--model", "a", "--concurrency", "2,8"}, &options), 0);
  EXPECT_THAT(options.concurrency, ElementsAre(2, 8));
}

TEST(LoadOptionsTest, ModelsCanBeMixed) {
  LoadOptions options;
  ASSERT_EQ(Parse({"localhost:1", "-m", "a:3", "-m", "b"}, &options), 0);
  EXPECT_THAT(options.models, ElementsAre("a:3", "b"));
}

TEST(LoadOptionsTest, HeadersAreNamesAndValues) {
  LoadOptions options;
  ASSERT_EQ(
      Parse({"localhost:1", "-m", "a", "--header", "x-tenant:a:b", "--header", "y:2"}, &options),
      0);
  const auto headers = ParseHeaders(options.headers);
  ASSERT_TRUE(headers.ok()) << headers.status();
  EXPECT_THAT(*headers, ElementsAre(testing::Pair("x-tenant", "a:b"), testing::Pair("y", "2")));
}

TEST(LoadOptionsTest, RefusesHeadersThatNoClientMaySend) {
  for (const std::string& text :
       {std::string("x-tenant"), std::string("x-tenant:"), std::string(":path:/x"),
        std::string("X-Tenant:a"), std::string("te:a"), std::string("grpc-timeout:1S"),
        std::string("x:a\n"), "x:" + std::string(127, 'a'), std::string(127, 'x') + ":a"}) {
    EXPECT_EQ(ParseHeaders({text}).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_TRUE(ParseHeaders(std::vector<std::string>(32, "x:a")).ok());
  EXPECT_FALSE(ParseHeaders(std::vector<std::string>(33, "x:a")).ok());
  EXPECT_FALSE(ParseHeaders(std::vector<std::string>(30, "x:" + std::string(100, 'a'))).ok());
}

TEST(LoadOptionsTest, RefusesWhatMakesNoSense) {
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"localhost:1"},
      {"localhost:1", "-m", "a", "-c", "0"},
      {"localhost:1", "-m", "a", "-c", "x"},
      {"localhost:1", "-m", "a", "-r", "-5"},
      {"localhost:1", "-m", "a", "-r", "10", "-c", "2"},
      {"localhost:1", "-m", "a", "--arrivals", "weekly"},
      {"localhost:1", "-m", "a", "--batch", "0"},
      {"localhost:1", "-m", "a", "--duration", "0"},
      {"localhost:1", "-m", "a", "--no-such-option"},
  };
  for (const auto& arguments : bad) {
    LoadOptions options;
    EXPECT_NE(Parse(arguments, &options), 0) << testing::PrintToString(arguments);
  }
}

TEST(ParseWeightedModelTest, TakesVersionAndWeight) {
  const auto model = ParseWeightedModel("digits/2:0.5");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->name, "digits");
  EXPECT_EQ(model->version, "2");
  EXPECT_EQ(model->weight, 0.5);
}

TEST(ParseWeightedModelTest, RefusesBadWeightsAndNames) {
  for (const char* text : {"", ":1", "a:", "a:x", "a:0", "a:-1", "a:inf", "a:nan", "/1"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseWeightedModel(text).status())) << text;
  }
}

TEST(PrepareRequestsTest, CutsRowsIntoBatches) {
  Signature signature;
  signature.batchable = true;
  signature.inputs = {{"x", DType::kUInt8, {2}, 2}};
  const std::vector<RowSet> rows = {{5, "aabbccddee"}};
  const auto requests = PrepareRequests({"m", ""}, signature, rows, {1, 2, 3, 4, 5}, 2);
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2u);
  EXPECT_THAT((*requests)[1].labels, ElementsAre(3, 4));
  EXPECT_THAT((*requests)[1].bytes, HasSubstr("ccdd"));
}

TEST(PrepareRequestsTest, SaysWhatDoesNotFit) {
  Signature signature;
  signature.inputs = {{"x", DType::kUInt8, {2}, 2}};
  const std::vector<RowSet> rows = {{2, "aabb"}};
  EXPECT_THAT(PrepareRequests({"m", ""}, signature, rows, {}, 2).status().message(),
              HasSubstr("--batch 1"));
  signature.batchable = true;
  EXPECT_THAT(PrepareRequests({"m", ""}, signature, rows, {}, 3).status().message(),
              HasSubstr("fewer than --batch 3"));
  EXPECT_THAT(PrepareRequests({"m", ""}, signature, rows, {1}, 1).status().message(),
              HasSubstr("1 labels for 2 rows"));
}

LoadReport SmallReport() {
  LoadReport report;
  report.settings.address = "localhost:1";
  LoadResult& result = report.results.emplace_back();
  result.point.concurrency = 4;
  result.seconds = 2.0;
  result.requests_per_second = 1500.0;
  result.total.requests = 3000;
  result.total.latency = Summarize({1000, 2000, 3000});
  result.total.errors["UNAVAILABLE"] = 2;
  result.total.first_error = "UNAVAILABLE: gone";
  result.models.push_back(result.total);
  result.models.front().name = "a";
  return report;
}

TEST(LoadJsonTest, IsJsonWithOneResultAPoint) {
  google::protobuf::Struct json;
  const auto status = google::protobuf::util::JsonStringToMessage(LoadJson(SmallReport()), &json);
  ASSERT_TRUE(status.ok()) << status.ToString();
  const auto& results = json.fields().at("results").list_value();
  ASSERT_EQ(results.values_size(), 1);
  const auto& result = results.values(0).struct_value().fields();
  EXPECT_EQ(result.at("concurrency").number_value(), 4);
  EXPECT_EQ(result.at("latency_us").struct_value().fields().at("p50").number_value(), 2.0);
  EXPECT_EQ(result.at("errors").struct_value().fields().at("UNAVAILABLE").number_value(), 2);
  EXPECT_TRUE(result.at("server_cpu_us").has_null_value());
  EXPECT_EQ(
      result.at("models").list_value().values(0).struct_value().fields().at("name").string_value(),
      "a");
}

TEST(LoadTableTest, SaysHowMuchWasInTime) {
  LoadReport report = SmallReport();
  report.results[0].total.in_time = 1000;
  EXPECT_THAT(LoadTable(report), ::testing::Not(HasSubstr("within")));
  report.settings.objective_ms = 2.5;
  EXPECT_THAT(LoadTable(report), HasSubstr("4 in flight: 500 requests/s within 2.5 ms"));
}

TEST(LoadTableTest, NamesTheErrors) {
  const std::string text = LoadTable(SmallReport());
  EXPECT_THAT(text, HasSubstr("UNAVAILABLE 2"));
  EXPECT_THAT(text, HasSubstr("first: UNAVAILABLE: gone"));
}

}  // namespace
}  // namespace bitmill
