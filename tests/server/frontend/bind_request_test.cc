#include "server/frontend/bind_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "proto/inference.pb.h"
#include "tests/server/frontend/request_samples.h"

namespace bitmill {
namespace {

using inference::ModelInferRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMaxRows = 8;

Signature TestSignature(bool batchable = true) {
  return {{{"x", DType::kFloat32, {4}, 16}},
          {{"y", DType::kFloat32, {4}, 16}, {"z", DType::kInt8, {2, 3}, 6}},
          batchable};
}

// The decoded bytes must live as long as what was bound.
struct Bound {
  std::string bytes;
  InferRequestView view;
  absl::StatusOr<BoundRequest> result = absl::UnknownError("not bound");
};

std::unique_ptr<Bound> Bind(const ModelInferRequest& request,
                            const Signature& signature = TestSignature()) {
  auto bound = std::make_unique<Bound>();
  bound->bytes = request.SerializeAsString();
  EXPECT_TRUE(ParseInferRequest(bound->bytes, bound->view).ok());
  bound->result = BindRequest(bound->view, signature, {.max_rows = kMaxRows});
  return bound;
}

TEST(BindRequestTest, PointsIntoTheRequest) {
  const auto bound = Bind(RawRequest(2));
  ASSERT_TRUE(bound->result.ok()) << bound->result.status();
  EXPECT_EQ(bound->result->rows, 2);
  EXPECT_EQ(bound->result->priority, 2U);
  EXPECT_EQ(bound->result->timeout_us, 5'000);
  EXPECT_THAT(bound->result->outputs, ElementsAre(0));
  EXPECT_TRUE(bound->result->converted.empty());
  EXPECT_EQ(reinterpret_cast<const char*>(bound->result->inputs[0]),
            bound->view.raw_inputs[0].data());
}

TEST(BindRequestTest, AnswersAllOutputsWhenNoneIsAskedFor) {
  ModelInferRequest request = RawRequest();
  request.clear_outputs();
  EXPECT_THAT(Bind(request)->result->outputs, ElementsAre(0, 1));
}

TEST(BindRequestTest, AnswersOutputsInTheOrderAskedFor) {
  ModelInferRequest request = RawRequest();
  request.clear_outputs();
  request.add_outputs()->set_name("z");
  request.add_outputs()->set_name("y");
  EXPECT_THAT(Bind(request)->result->outputs, ElementsAre(1, 0));
}

TEST(BindRequestTest, MatchesInputsByName) {
  const Signature signature{{{"a", DType::kInt8, {}, 1}, {"b", DType::kInt8, {}, 1}}, {}, false};
  ModelInferRequest request;
  for (const char* const name : {"b", "a"}) {
    request.add_inputs()->set_name(name);
    request.mutable_inputs()->rbegin()->set_datatype("INT8");
    request.add_raw_input_contents(name);
  }
  const auto bound = Bind(request, signature);
  ASSERT_TRUE(bound->result.ok()) << bound->result.status();
  EXPECT_EQ(static_cast<char>(*bound->result->inputs[0]), 'a');
  EXPECT_EQ(static_cast<char>(*bound->result->inputs[1]), 'b');
}

TEST(BindRequestTest, TakesNoBatchDimensionForAModelThatDoesNotBatch) {
  ModelInferRequest request = RawRequest(1);
  EXPECT_THAT(std::string(Bind(request, TestSignature(false))->result.status().message()),
              HasSubstr("input 'x' has shape [1,4], the model wants [4]"));
  request.mutable_inputs(0)->clear_shape();
  request.mutable_inputs(0)->add_shape(4);
  EXPECT_TRUE(Bind(request, TestSignature(false))->result.ok());
}

TEST(BindRequestTest, UsesPackedFloatsInPlaceAndConvertsOthers) {
  ModelInferRequest request = RawRequest(1);
  request.clear_raw_input_contents();
  auto& contents = *request.mutable_inputs(0)->mutable_contents();
  for (const float value : {1.0F, 2.0F, -3.0F, 4.0F}) contents.add_fp32_contents(value);
  const auto bound = Bind(request);
  ASSERT_TRUE(bound->result.ok()) << bound->result.status();
  EXPECT_TRUE(bound->result->converted.empty());
  std::vector<float> values(4);
  std::memcpy(values.data(), bound->result->inputs[0], 16);
  EXPECT_THAT(values, ElementsAre(1.0F, 2.0F, -3.0F, 4.0F));

  const Signature small{{{"x", DType::kInt8, {4}, 4}}, {{"y", DType::kInt8, {}, 1}}, true};
  contents.clear_fp32_contents();
  for (const int value : {-128, 0, 1, 127}) contents.add_int_contents(value);
  request.mutable_inputs(0)->set_datatype("INT8");
  const auto converted = Bind(request, small);
  ASSERT_TRUE(converted->result.ok()) << converted->result.status();
  EXPECT_EQ(converted->result->converted.size(), 1U);
  std::vector<int8_t> bytes(4);
  std::memcpy(bytes.data(), converted->result->inputs[0], 4);
  EXPECT_THAT(bytes, ElementsAre(-128, 0, 1, 127));
}

struct Refusal {
  const char* what;
  std::function<void(ModelInferRequest&)> damage;
  std::vector<const char*> says;
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

std::vector<Refusal> Refusals() {
  const auto input = [](ModelInferRequest& r) { return r.mutable_inputs(0); };
  const auto shape = [](ModelInferRequest& r, std::vector<int64_t> sizes) {
    r.mutable_inputs(0)->clear_shape();
    for (const int64_t size : sizes) r.mutable_inputs(0)->add_shape(size);
  };
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  return {
      {"missing",
       [](auto& r) { r.clear_inputs(), r.clear_raw_input_contents(); },
       {"input 'x' is missing"}},
      {"unknown",
       [=](auto& r) { input(r)->set_name("q"); },
       {"input 'q' is not an input of the model; it has 'x'"}},
      {"twice",
       [](auto& r) {
         *r.add_inputs() = r.inputs(0);
         r.add_raw_input_contents(r.raw_input_contents(0));
       },
       {"input 'x' is given more than once"}},
      {"control characters", [=](auto& r) { input(r)->set_name("q\n\x01"); }, {"'q\\n\\001'"}},
      {"long name", [=](auto& r) { input(r)->set_name(std::string(5000, 'q')); }, {"qqq...'"}},
      {"datatype",
       [=](auto& r) { input(r)->set_datatype("INT32"); },
       {"input 'x' has datatype 'INT32', the model wants FP32"}},
      {"no such datatype",
       [=](auto& r) { input(r)->set_datatype("FLOAT32X"); },
       {"'FLOAT32X'", "FP32"}},
      {"rank",
       [=](auto& r) { shape(r, {8}); },
       {"input 'x' has shape [8], the model wants [rows,4]"}},
      {"dimension",
       [=](auto& r) {
         shape(r, {2, 5});
       },
       {"[2,5]", "[rows,4]"}},
      {"negative dimension",
       [=](auto& r) {
         shape(r, {2, -4});
       },
       {"[2,-4]"}},
      {"negative rows",
       [=](auto& r) {
         shape(r, {-1, 4});
       },
       {"input 'x' has -1 rows"}},
      {"no rows",
       [=](auto& r) {
         shape(r, {0, 4});
         r.set_raw_input_contents(0, "");
       },
       {"has 0 rows"}},
      {"too many rows",
       [=](auto& r) {
         shape(r, {9, 4});
       },
       {"has 9 rows", "1 to 8"}},
      {"rows that overflow",
       [=](auto& r) {
         shape(r, {kHuge, 4});
       },
       {"input 'x'", "1 to 8"}},
      {"a byte short",
       [](auto& r) { r.mutable_raw_input_contents(0)->pop_back(); },
       {"input 'x' has 31 raw bytes", "[2,4] of FP32 wants 32"}},
      {"a byte long",
       [](auto& r) { r.mutable_raw_input_contents(0)->push_back('!'); },
       {"33 raw bytes"}},
      {"no data", [](auto& r) { r.clear_raw_input_contents(); }, {"input 'x' has no data"}},
      {"a buffer too many",
       [](auto& r) { r.add_raw_input_contents("1234"); },
       {"raw_input_contents has 2 buffers, the request has 1 inputs"}},
      {"buffers without inputs", [](auto& r) { r.clear_inputs(); }, {"input 'x' is missing"}},
      {"raw and typed",
       [=](auto& r) { input(r)->mutable_contents()->add_fp32_contents(1); },
       {"input 'x' has typed contents beside raw_input_contents"}},
      {"too few elements",
       [=](auto& r) {
         r.clear_raw_input_contents();
         input(r)->mutable_contents()->add_fp32_contents(1);
       },
       {"input 'x' has 1 elements in fp32_contents, its shape wants 8"}},
      {"wrong field",
       [=](auto& r) {
         r.clear_raw_input_contents();
         input(r)->mutable_contents()->add_int64_contents(1);
       },
       {"input 'x' has int64_contents, datatype FP32 wants fp32_contents"}},
      {"unknown output",
       [](auto& r) { r.mutable_outputs(0)->set_name("q"); },
       {"output 'q' is not an output of the model; it has 'y', 'z'"}},
      {"output twice",
       [](auto& r) { r.add_outputs()->set_name("y"); },
       {"output 'y' is asked for more than once"}},
      {"negative timeout",
       [](auto& r) { (*r.mutable_parameters())["timeout"].set_int64_param(-1); },
       {"'timeout'"}},
      {"priority as text",
       [](auto& r) { (*r.mutable_parameters())["priority"].set_string_param("high"); },
       {"'priority'"}},
      {"shared memory input",
       [=](auto& r) {
         (*input(r)->mutable_parameters())["shared_memory_region"].set_string_param("s");
       },
       {"input 'x'", "'s'"},
       absl::StatusCode::kUnimplemented},
      {"shared memory output",
       [](auto& r) {
         (*r.mutable_outputs(0)->mutable_parameters())["shared_memory_region"].set_string_param(
             "s");
       },
       {"output 'y'", "'s'"},
       absl::StatusCode::kUnimplemented},
      {"classification",
       [](auto& r) {
         (*r.mutable_outputs(0)->mutable_parameters())["classification"].set_int64_param(3);
       },
       {"output 'y'", "classification"},
       absl::StatusCode::kUnimplemented},
  };
}

TEST(BindRequestTest, RefusesWhatDoesNotFitAndSaysWhy) {
  for (const Refusal& refusal : Refusals()) {
    ModelInferRequest request = RawRequest(2);
    refusal.damage(request);
    const absl::Status status = Bind(request)->result.status();
    EXPECT_EQ(status.code(), refusal.code) << refusal.what << ": " << status;
    for (const char* const part : refusal.says) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(part)) << refusal.what;
    }
    EXPECT_LT(status.message().size(), 1024U) << refusal.what;
  }
}

TEST(BindRequestTest, RefusesInputsThatDisagreeOnRows) {
  const Signature signature{{{"a", DType::kInt8, {}, 1}, {"b", DType::kInt8, {}, 1}}, {}, true};
  ModelInferRequest request;
  for (const auto& [name, rows] : {std::pair{"a", 1}, std::pair{"b", 2}}) {
    auto& input = *request.add_inputs();
    input.set_name(name);
    input.set_datatype("INT8");
    input.add_shape(rows);
    request.add_raw_input_contents(std::string(static_cast<size_t>(rows), 'v'));
  }
  EXPECT_THAT(std::string(Bind(request, signature)->result.status().message()),
              HasSubstr("input 'b' has 2 rows, input 'a' has 1"));
}

TEST(BindRequestTest, RefusesTypedNumbersOutsideTheirType) {
  const Signature signature{{{"x", DType::kUInt8, {1}, 1}}, {}, true};
  ModelInferRequest request = RawRequest(1);
  request.clear_outputs();
  request.clear_raw_input_contents();
  auto& input = *request.mutable_inputs(0);
  input.set_datatype("UINT8");
  input.set_shape(1, 1);
  input.mutable_contents()->add_uint_contents(256);
  EXPECT_THAT(std::string(Bind(request, signature)->result.status().message()),
              HasSubstr("input 'x' the value 256 in uint_contents is outside"));
}

TEST(ParseVersionTest, TakesPlainNumbersOnly) {
  EXPECT_EQ(*ParseVersion("m", ""), 0);
  EXPECT_EQ(*ParseVersion("m", "12"), 12);
  for (const char* const text : {"0", "-1", "01", "1 ", "one", "9223372036854775808", "+1"}) {
    const absl::Status status = ParseVersion("m", text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
}

}  // namespace
}  // namespace bitmill
