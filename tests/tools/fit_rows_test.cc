#include "tools/input/fit_rows.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TensorSpec Spec(DType dtype, std::vector<int64_t> row_shape) {
  TensorSpec spec{"x", dtype, std::move(row_shape), 0};
  spec.row_bytes = ElementCount(spec.row_shape) * DTypeSize(dtype);
  return spec;
}

template <typename Element>
std::vector<Element> Elements(const RowSet& rows) {
  std::vector<Element> elements(rows.bytes.size() / sizeof(Element));
  std::memcpy(elements.data(), rows.bytes.data(), rows.bytes.size());
  return elements;
}

NamedTensor Bytes(std::initializer_list<int64_t> shape, std::vector<uint8_t> values) {
  return {"images", Tensor::Of<uint8_t>(DType::kUInt8, shape, values)};
}

TEST(FitRowsTest, AddsTheChannelAndConvertsPixels) {
  const auto rows = FitRows(Bytes({2, 1, 2}, {0, 255, 7, 8}), Spec(DType::kFloat32, {1, 1, 2}));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->rows, 2);
  EXPECT_THAT(Elements<float>(*rows), ElementsAre(0.0F, 255.0F, 7.0F, 8.0F));
}

TEST(FitRowsTest, ASingleImageIsOneRow) {
  const auto rows = FitRows(Bytes({1, 2}, {1, 2}), Spec(DType::kUInt8, {1, 1, 2}));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->rows, 1);
}

TEST(FitRowsTest, TurnsImagesToChannelsFirst) {
  // A pixel row of two RGB pixels, two images.
  const auto rows = FitRows(Bytes({2, 1, 2, 3}, {1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16}),
                            Spec(DType::kUInt8, {3, 1, 2}));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT(Elements<uint8_t>(*rows), ElementsAre(1, 4, 2, 5, 3, 6, 11, 14, 12, 15, 13, 16));
}

TEST(FitRowsTest, LeavesImagesThatAlreadyFit) {
  const auto rows =
      FitRows(Bytes({1, 3, 3, 3}, std::vector<uint8_t>(27, 5)), Spec(DType::kUInt8, {3, 3, 3}));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->rows, 1);
}

TEST(FitRowsTest, NeverResizes) {
  const auto rows = FitRows(Bytes({1, 2, 3}, {1, 2, 3, 4, 5, 6}), Spec(DType::kFloat32, {1, 2, 2}));
  EXPECT_TRUE(absl::IsInvalidArgument(rows.status()));
  EXPECT_THAT(rows.status().message(), HasSubstr("[1,2,3]"));
  EXPECT_THAT(rows.status().message(), HasSubstr("[1,2,2]"));
}

TEST(FitRowsTest, ValuesThatAreNotOfTheTypeAreRefused) {
  const TensorSpec int8 = Spec(DType::kInt8, {1});
  const auto fit = [&int8](double value) {
    return FitRows({"v", Tensor::Of<double>(DType::kFloat64, {1, 1}, {value})}, int8).ok();
  };
  EXPECT_TRUE(fit(127.0));
  EXPECT_TRUE(fit(-128.0));
  EXPECT_FALSE(fit(128.0));
  EXPECT_FALSE(fit(-129.0));
  EXPECT_FALSE(fit(0.5));
  EXPECT_FALSE(fit(std::nan("")));
}

TEST(FitRowsTest, HalfPrecisionIsRounded) {
  const auto fit = [](DType dtype, double value) {
    return FitRows({"v", Tensor::Of<double>(DType::kFloat64, {1, 1}, {value})}, Spec(dtype, {1}));
  };
  EXPECT_THAT(Elements<uint16_t>(*fit(DType::kFloat16, 1.0 + 0x1.0p-12)), ElementsAre(0x3C00));
  EXPECT_THAT(Elements<uint16_t>(*fit(DType::kBFloat16, -2.0)), ElementsAre(0xC000));
  EXPECT_TRUE(fit(DType::kFloat16, HUGE_VAL).ok());
  EXPECT_FALSE(fit(DType::kFloat16, 65536.0).ok());
  EXPECT_TRUE(fit(DType::kBFloat16, 65536.0).ok());
}

TEST(FitRowsTest, RawBytesAreWholeRows) {
  const TensorSpec spec = Spec(DType::kFloat32, {2});
  const auto rows = FitRawBytes(std::string(24, 'x'), spec);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->rows, 3);
  EXPECT_TRUE(absl::IsInvalidArgument(FitRawBytes(std::string(23, 'x'), spec).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(FitRawBytes("", spec).status()));
}

TEST(RandomRowsTest, TheSeedDecides) {
  const TensorSpec spec = Spec(DType::kFloat32, {8});
  const auto once = RandomRows(spec, 4, 1);
  ASSERT_TRUE(once.ok()) << once.status();
  EXPECT_EQ(once->bytes, RandomRows(spec, 4, 1)->bytes);
  EXPECT_NE(once->bytes, RandomRows(spec, 4, 2)->bytes);
  for (const float value : Elements<float>(*once)) {
    EXPECT_GE(value, 0.0F);
    EXPECT_LT(value, 1.0F);
  }
}

TEST(RandomRowsTest, HalfPrecisionIsBetween0And1Too) {
  const auto half = RandomRows(Spec(DType::kFloat16, {64}), 1, 1);
  const auto wide = RandomRows(Spec(DType::kBFloat16, {64}), 1, 1);
  ASSERT_TRUE(half.ok() && wide.ok());
  double sum = 0.0;
  for (const uint16_t bits : Elements<uint16_t>(*half)) {
    EXPECT_GE(HalfToFloat(bits), 0.0F);
    EXPECT_LT(HalfToFloat(bits), 1.0F);
    sum += HalfToFloat(bits);
  }
  EXPECT_NEAR(sum / 64, 0.5, 0.15);
  for (const uint16_t bits : Elements<uint16_t>(*wide)) EXPECT_LT(BFloat16ToFloat(bits), 1.0F);
}

TEST(RandomRowsTest, RefusesAbsurdSizes) {
  EXPECT_TRUE(absl::IsResourceExhausted(
      RandomRows(Spec(DType::kFloat32, {1 << 20}), int64_t{1} << 50, 1).status()));
}

}  // namespace
}  // namespace bitmill
