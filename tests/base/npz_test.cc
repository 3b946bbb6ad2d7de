#include "base/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>

#include "base/file.h"
#include "base/half.h"

namespace bitmill {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kData = std::string(BITMILL_SOURCE_DIR) + "/tests/base/data/";

TEST(NpzTest, ReadsStoredMembers) {
  const auto arrays = ReadNpz(kData + "stored.npz");
  ASSERT_TRUE(arrays.ok()) << arrays.status();
  ASSERT_TRUE(arrays->contains("a") && arrays->contains("b") && arrays->contains("c"));
  EXPECT_EQ(arrays->at("a").dtype(), DType::kFloat32);
  EXPECT_EQ(arrays->at("a").shape(), (Shape{2, 3}));
  EXPECT_THAT(arrays->at("a").span<float>(), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(arrays->at("b").shape(), Shape{});
  EXPECT_THAT(arrays->at("b").span<int64_t>(), ElementsAre(-7));
  EXPECT_EQ(arrays->at("c").dtype(), DType::kBool);
  EXPECT_THAT(arrays->at("c").span<uint8_t>(), ElementsAre(1, 0));
}

TEST(NpzTest, LeavesOutTextAndFortranOrder) {
  const auto arrays = ReadNpz(kData + "stored.npz");
  ASSERT_TRUE(arrays.ok()) << arrays.status();
  EXPECT_EQ(arrays->size(), 3U);
}

TEST(NpzTest, ReadsDeflatedMembersEmptyOnesIncluded) {
  const auto arrays = ReadNpz(kData + "deflated.npz");
  ASSERT_TRUE(arrays.ok()) << arrays.status();
  EXPECT_THAT(arrays->at("a").span<float>(), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(HalfToFloat(arrays->at("h").span<uint16_t>()[0]), 1.5F);
  EXPECT_EQ(arrays->at("e").shape(), (Shape{0, 4}));
}

TEST(NpzTest, ReadsBackWhatItWrites) {
  const std::string path = testing::TempDir() + "/npz_test_written.npz";
  NamedTensors tensors;
  tensors["x"] = Tensor::Of<float>(DType::kFloat32, {2, 2}, {1, -2, 0.5F, 3});
  tensors["labels"] = Tensor::Of<int64_t>(DType::kInt64, {3}, {1, -1, 7});
  tensors["scalar"] = Tensor::Of<uint8_t>(DType::kUInt8, {}, {200});
  ASSERT_TRUE(WriteNpz(path, tensors).ok());
  const auto read = ReadNpz(path);
  std::filesystem::remove(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->size(), 3U);
  EXPECT_EQ(read->at("x").shape(), (Shape{2, 2}));
  EXPECT_THAT(read->at("x").span<float>(), ElementsAre(1, -2, 0.5F, 3));
  EXPECT_THAT(read->at("labels").span<int64_t>(), ElementsAre(1, -1, 7));
  EXPECT_THAT(read->at("scalar").span<uint8_t>(), ElementsAre(200));
}

TEST(NpzTest, RefusesElementsThatNumPyDoesNotHave) {
  NamedTensors tensors;
  tensors["x"] = Tensor::Zeros(DType::kBFloat16, {2});
  const absl::Status status = WriteNpz(testing::TempDir() + "/never.npz", tensors);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

TEST(NpzTest, RefusesEveryTruncation) {
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    const auto bytes = ReadFile(kData + name);
    ASSERT_TRUE(bytes.ok());
    for (size_t size = 0; size < bytes->size(); ++size) {
      const auto arrays = ParseNpz(bytes->substr(0, size), name);
      EXPECT_TRUE(absl::IsInvalidArgument(arrays.status())) << name << " cut to " << size;
    }
  }
}

TEST(NpzTest, SurvivesCorruption) {
  std::mt19937 random(7);
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    const auto original = ReadFile(kData + name);
    ASSERT_TRUE(original.ok());
    for (int round = 0; round < 5000; ++round) {
      std::string bytes = *original;
      for (int flips = 0; flips <= round % 3; ++flips) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      const auto arrays = ParseNpz(bytes, name, 1 << 20);
      if (!arrays.ok()) {
        EXPECT_THAT(std::string(arrays.status().message()), HasSubstr(name));
      }
    }
  }
}

TEST(NpzTest, RefusesMembersLargerThanAllowed) {
  const auto arrays = ReadNpz(kData + "stored.npz", 100);
  EXPECT_TRUE(absl::IsInvalidArgument(arrays.status()));
  EXPECT_THAT(std::string(arrays.status().message()), HasSubstr("at most 100 are allowed"));
}

TEST(NpyTest, RefusesShapesThatDoNotMatchTheBytes) {
  const std::string header =
      "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }\n";
  std::string npy("\x93NUMPY\x01\x00", 8);
  npy += static_cast<char>(header.size());
  npy += '\0';
  npy += header;
  EXPECT_TRUE(absl::IsInvalidArgument(ParseNpy(npy).status()));
}

TEST(HalfTest, RoundTripsEveryHalf) {
  for (uint32_t half = 0; half <= 0xffff; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    if (value != value) continue;
    ASSERT_EQ(FloatToHalf(value), half);
  }
}

TEST(HalfTest, RoundsTiesToEvenAndOverflowsToInfinity) {
  EXPECT_EQ(FloatToHalf(1.0F + 1.0F / 2048), 0x3c00);  // half-way between 1 and its successor
  EXPECT_EQ(FloatToHalf(1.0F + 3.0F / 2048), 0x3c02);
  EXPECT_EQ(FloatToHalf(65519.0F), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0F), 0x7c00);
  EXPECT_EQ(FloatToHalf(-1e-8F), 0x8000);
  EXPECT_EQ(FloatToBFloat16(1.0F), 0x3f80);
  EXPECT_EQ(BFloat16ToFloat(0xc040), -3.0F);
}

}  // namespace
}  // namespace bitmill
