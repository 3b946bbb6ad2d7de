// Initializers: every element type and both kinds of storage, and lies about sizes.
#include "model/onnx/import_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace bitmill {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

onnx::TensorProto Proto(int32_t type, std::initializer_list<int64_t> dims) {
  onnx::TensorProto proto;
  proto.set_name("w");
  proto.set_data_type(type);
  for (const int64_t dim : dims) proto.add_dims(dim);
  return proto;
}

std::string Message(const onnx::TensorProto& proto, absl::StatusCode code) {
  const auto tensor = ImportTensor(proto);
  EXPECT_EQ(tensor.status().code(), code) << tensor.status();
  return std::string(tensor.status().message());
}

TEST(ImportTensorTest, ReadsTypedFields) {
  onnx::TensorProto floats = Proto(onnx::TensorProto::FLOAT, {2});
  floats.add_float_data(1.5F);
  floats.add_float_data(-2.0F);
  EXPECT_THAT(ImportTensor(floats)->span<float>(), ElementsAre(1.5F, -2.0F));

  onnx::TensorProto bytes = Proto(onnx::TensorProto::INT8, {2});
  bytes.add_int32_data(-128);
  bytes.add_int32_data(127);
  EXPECT_THAT(ImportTensor(bytes)->span<int8_t>(), ElementsAre(-128, 127));

  onnx::TensorProto words = Proto(onnx::TensorProto::UINT32, {1});
  words.add_uint64_data(4000000000U);
  EXPECT_THAT(ImportTensor(words)->span<uint32_t>(), ElementsAre(4000000000U));

  onnx::TensorProto flags = Proto(onnx::TensorProto::BOOL, {3});
  for (const int value : {0, 1, 2}) flags.add_int32_data(value);
  EXPECT_THAT(ImportTensor(flags)->span<uint8_t>(), ElementsAre(0, 1, 1));

  onnx::TensorProto doubles = Proto(onnx::TensorProto::DOUBLE, {});
  doubles.add_double_data(0.25);
  EXPECT_THAT(ImportTensor(doubles)->span<double>(), ElementsAre(0.25));

  onnx::TensorProto longs = Proto(onnx::TensorProto::INT64, {1, 1});
  longs.add_int64_data(std::numeric_limits<int64_t>::min());
  EXPECT_THAT(ImportTensor(longs)->span<int64_t>(),
              ElementsAre(std::numeric_limits<int64_t>::min()));
}

TEST(ImportTensorTest, ReadsRawBytes) {
  onnx::TensorProto proto = Proto(onnx::TensorProto::UINT16, {2});
  proto.set_raw_data(std::string("\x01\x02\xff\xff", 4));
  EXPECT_THAT(ImportTensor(proto)->span<uint16_t>(), ElementsAre(0x0201, 0xffff));
}

TEST(ImportTensorTest, WidensHalfPrecision) {
  onnx::TensorProto half = Proto(onnx::TensorProto::FLOAT16, {2});
  half.add_int32_data(0x3c00);
  half.add_int32_data(0xc000);
  const auto wide = ImportTensor(half);
  EXPECT_EQ(wide->dtype(), DType::kFloat32);
  EXPECT_THAT(wide->span<float>(), ElementsAre(1.0F, -2.0F));

  onnx::TensorProto brain = Proto(onnx::TensorProto::BFLOAT16, {1});
  brain.set_raw_data(std::string("\x80\x3f", 2));
  EXPECT_THAT(ImportTensor(brain)->span<float>(), ElementsAre(1.0F));
}

TEST(ImportTensorTest, ReadsEmptyTensors) {
  const auto tensor = ImportTensor(Proto(onnx::TensorProto::FLOAT, {0, 5}));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->elements(), 0);
}

TEST(ImportTensorTest, RefusesSizesThatDoNotMatch) {
  onnx::TensorProto raw = Proto(onnx::TensorProto::FLOAT, {2});
  raw.set_raw_data("1234567");
  EXPECT_THAT(Message(raw, absl::StatusCode::kInvalidArgument), HasSubstr("[2]"));
  onnx::TensorProto ragged = Proto(onnx::TensorProto::FLOAT, {1});
  ragged.set_raw_data("1234567");
  EXPECT_THAT(Message(ragged, absl::StatusCode::kInvalidArgument), HasSubstr("7 bytes"));
  onnx::TensorProto typed = Proto(onnx::TensorProto::FLOAT, {2, 2});
  typed.add_float_data(1);
  EXPECT_THAT(Message(typed, absl::StatusCode::kInvalidArgument), HasSubstr("1 elements"));
}

TEST(ImportTensorTest, RefusesHostileShapesWithoutAllocating) {
  constexpr int64_t kHuge = int64_t{1} << 62;
  Message(Proto(onnx::TensorProto::FLOAT, {kHuge}), absl::StatusCode::kInvalidArgument);
  Message(Proto(onnx::TensorProto::FLOAT, {kHuge, 4}), absl::StatusCode::kInvalidArgument);
  Message(Proto(onnx::TensorProto::FLOAT, {-1}), absl::StatusCode::kInvalidArgument);
  Message(Proto(onnx::TensorProto::FLOAT, {-2, -2}), absl::StatusCode::kInvalidArgument);
  onnx::TensorProto deep = Proto(onnx::TensorProto::FLOAT, {});
  for (int i = 0; i < 17; ++i) deep.add_dims(1);
  deep.add_float_data(1);
  EXPECT_THAT(Message(deep, absl::StatusCode::kInvalidArgument), HasSubstr("17 dimensions"));
}

TEST(ImportTensorTest, RefusesNumbersThatDoNotFitTheirType) {
  onnx::TensorProto proto = Proto(onnx::TensorProto::INT8, {1});
  proto.add_int32_data(128);
  EXPECT_THAT(Message(proto, absl::StatusCode::kInvalidArgument), HasSubstr("128"));
  onnx::TensorProto negative = Proto(onnx::TensorProto::UINT8, {1});
  negative.add_int32_data(-1);
  EXPECT_THAT(Message(negative, absl::StatusCode::kInvalidArgument), HasSubstr("-1"));
}

TEST(ImportTensorTest, RefusesStorageAndTypesThatAreNotSupported) {
  onnx::TensorProto external = Proto(onnx::TensorProto::FLOAT, {1});
  external.set_data_location(onnx::TensorProto::EXTERNAL);
  EXPECT_THAT(Message(external, absl::StatusCode::kUnimplemented), HasSubstr("another file"));
  onnx::TensorProto text = Proto(onnx::TensorProto::STRING, {1});
  text.add_string_data("x");
  Message(text, absl::StatusCode::kUnimplemented);
  constexpr int32_t kInt4 = 22;
  Message(Proto(kInt4, {1}), absl::StatusCode::kUnimplemented);
  Message(Proto(onnx::TensorProto::COMPLEX64, {1}), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace bitmill
