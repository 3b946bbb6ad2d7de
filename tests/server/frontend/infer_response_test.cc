#include "server/frontend/infer_response.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "proto/inference.pb.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

Signature TwoOutputs(bool batchable) {
  return {{}, {{"y", DType::kFloat32, {300}, 1200}, {"scalar", DType::kInt8, {}, 1}}, batchable};
}

// Encodes, then fills the tensors as a model would.
std::string Encode(const ResponseParts& parts) {
  std::string bytes(static_cast<size_t>(ResponseBytes(parts).value()), '\0');
  std::vector<std::byte*> tensors(parts.outputs.size());
  EncodeResponse(parts, absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size()),
                 absl::MakeSpan(tensors));
  for (size_t k = 0; k < tensors.size(); ++k) {
    const int64_t size =
        parts.rows * parts.signature->outputs[static_cast<size_t>(parts.outputs[k])].row_bytes;
    std::memset(tensors[k], 'a' + static_cast<int>(k), static_cast<size_t>(size));
  }
  return bytes;
}

TEST(InferResponseTest, IsWhatTheGeneratedClassReads) {
  const Signature signature = TwoOutputs(true);
  const std::vector<int> outputs = {1, 0};
  inference::ModelInferResponse response;
  ASSERT_TRUE(response.ParseFromString(Encode({.model_name = "m",
                                               .model_version = "12",
                                               .id = std::string(200, 'i'),
                                               .signature = &signature,
                                               .outputs = outputs,
                                               .rows = 3})));
  EXPECT_EQ(response.model_name(), "m");
  EXPECT_EQ(response.model_version(), "12");
  EXPECT_EQ(response.id(), std::string(200, 'i'));
  ASSERT_EQ(response.outputs_size(), 2);
  EXPECT_EQ(response.outputs(0).name(), "scalar");
  EXPECT_EQ(response.outputs(0).datatype(), "INT8");
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(3));
  EXPECT_EQ(response.outputs(1).name(), "y");
  EXPECT_THAT(response.outputs(1).shape(), ElementsAre(3, 300));
  ASSERT_EQ(response.raw_output_contents_size(), 2);
  EXPECT_EQ(response.raw_output_contents(0), std::string(3, 'a'));
  EXPECT_EQ(response.raw_output_contents(1), std::string(3600, 'b'));
}

TEST(InferResponseTest, HasNoBatchDimensionWithoutBatching) {
  const Signature signature = TwoOutputs(false);
  const std::vector<int> outputs = {0, 1};
  inference::ModelInferResponse response;
  ASSERT_TRUE(response.ParseFromString(
      Encode({.model_name = "m", .signature = &signature, .outputs = outputs})));
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(300));
  EXPECT_EQ(response.outputs(1).shape_size(), 0);
  EXPECT_EQ(response.raw_output_contents(1).size(), 1U);
}

TEST(InferResponseTest, TravelsInsideAStreamAnswer) {
  const Signature signature = TwoOutputs(true);
  const std::vector<int> outputs = {0, 1};
  ResponseParts parts{.model_name = "m", .id = "7", .signature = &signature, .outputs = outputs};
  const std::string alone = Encode(parts);
  parts.in_stream = true;
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(response.ParseFromString(Encode(parts)));
  EXPECT_EQ(response.error_message(), "");
  EXPECT_EQ(response.infer_response().SerializeAsString(), alone);
}

TEST(InferResponseTest, RefusesMoreThanProtobufCanHold) {
  Signature signature = TwoOutputs(true);
  const std::vector<int> outputs = {0};
  signature.outputs[0].row_bytes = int64_t{1} << 31;
  EXPECT_FALSE(ResponseBytes({.signature = &signature, .outputs = outputs}).has_value());
  signature.outputs[0].row_bytes = std::numeric_limits<int64_t>::max();
  EXPECT_FALSE(ResponseBytes({.signature = &signature, .outputs = outputs, .rows = 2}).has_value());
}

TEST(EncodeStreamErrorTest, SaysWhatWasWrongWithWhich) {
  inference::ModelStreamInferResponse response;
  ASSERT_TRUE(response.ParseFromString(EncodeStreamError("bad tensor", "m", "42")));
  EXPECT_EQ(response.error_message(), "bad tensor");
  EXPECT_EQ(response.infer_response().model_name(), "m");
  EXPECT_EQ(response.infer_response().id(), "42");
}

}  // namespace
}  // namespace bitmill
