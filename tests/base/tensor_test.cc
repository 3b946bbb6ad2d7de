#include "base/tensor.h"

#include <cstdint>
#include <limits>

#include "base/checked_math.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

constexpr int64_t kHuge = int64_t{1} << 40;

TEST(CheckedProductTest, OfOrdinaryShapes) {
  EXPECT_EQ(CheckedProduct({}), 1);
  EXPECT_EQ(CheckedProduct({3, 32, 32}), 3072);
  EXPECT_EQ(CheckedProduct({3, 0, 32}), 0);
  EXPECT_EQ(CheckedProduct({std::numeric_limits<int64_t>::max()}),
            std::numeric_limits<int64_t>::max());
}

TEST(CheckedProductTest, RefusesOverflowAndNegativeDimensions) {
  EXPECT_FALSE(CheckedProduct({kHuge, kHuge}).has_value());
  EXPECT_FALSE(CheckedProduct({2, -1}).has_value());
  EXPECT_FALSE(CheckedProduct({0, -1}).has_value());
}

// Operators multiply the dimensions before and after an axis; the zero is not always among them.
TEST(CheckedProductTest, AZeroDimensionDoesNotHideAnOverflow) {
  EXPECT_FALSE(CheckedProduct({kHuge, kHuge, 0}).has_value());
  EXPECT_FALSE(CheckedProduct({0, kHuge, kHuge}).has_value());
}

TEST(TensorTest, RefusesAShapeWhosePartsOverflow) {
  for (const Shape& shape : {Shape{kHuge, kHuge, 0}, Shape{0, kHuge, kHuge}}) {
    EXPECT_FALSE(Tensor::Create(DType::kInt8, shape).ok()) << ShapeToString(shape);
  }
  Tensor empty = Tensor::Create(DType::kInt8, {0, 4}).value();
  EXPECT_EQ(empty.elements(), 0);
  EXPECT_FALSE(empty.Reshape({kHuge, kHuge, 0}).ok());
  EXPECT_TRUE(empty.Reshape({4, 0, 2}).ok());
}

}  // namespace
}  // namespace bitmill
