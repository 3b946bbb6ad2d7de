// Readers of input files: what they read, and that no damaged file gets through or crashes them.
#include "tools/input/tensor_file.h"

#include <png.h>
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/npz.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/input/idx_reader.h"
#include "tools/input/inflate.h"
#include "tools/input/png_reader.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Little(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

// What numpy.save writes, for the given header fields and data.
std::string Npy(const std::string& type, const std::string& shape, const std::string& data,
                const std::string& order = "False") {
  std::string header =
      absl::StrCat("{'descr': '", type, "', 'fortran_order': ", order, ", 'shape': ", shape, ", }");
  header.append(64 - (header.size() + 11) % 64, ' ');
  header += '\n';
  return absl::StrCat(std::string("\x93NUMPY\x01\x00", 8), Little(header.size(), 2), header, data);
}

std::string Deflated(const std::string& data, int window_bits) {
  z_stream stream = {};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
  std::string packed(deflateBound(&stream, data.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::string Gzipped(const std::string& data) { return Deflated(data, 15 + 16); }

// A zip archive of one member.
std::string Zip(const std::string& name, const std::string& data, bool deflated) {
  const std::string packed = deflated ? Deflated(data, -15) : data;
  const std::string common = absl::StrCat(
      Little(deflated ? 8 : 0, 2), Little(0, 4),
      Little(crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size()), 4),
      Little(packed.size(), 4), Little(data.size(), 4), Little(name.size(), 2), Little(0, 2));
  const std::string local =
      absl::StrCat("PK\x03\x04", Little(20, 2), Little(0, 2), common, name, packed);
  const std::string central =
      absl::StrCat("PK\x01\x02", Little(20, 2), Little(20, 2), Little(0, 2), common, Little(0, 2),
                   Little(0, 2), Little(0, 2), Little(0, 4), Little(0, 4), name);
  return absl::StrCat(local, central, "PK\x05\x06", Little(0, 4), Little(1, 2), Little(1, 2),
                      Little(central.size(), 4), Little(local.size(), 4), Little(0, 2));
}

std::string Idx(uint8_t type, std::initializer_list<uint32_t> shape, const std::string& data) {
  std::string text = {0, 0, static_cast<char>(type), static_cast<char>(shape.size())};
  for (const uint32_t dim : shape) {
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(dim >> shift);
  }
  return text + data;
}

std::string Png(uint32_t width, uint32_t height, uint32_t format, const std::string& pixels) {
  png_image image = {};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = format;
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&image, nullptr, &size, 0, pixels.data(), 0, nullptr);
  std::string file(size, '\0');
  png_image_write_to_memory(&image, file.data(), &size, 0, pixels.data(), 0, nullptr);
  file.resize(size);
  return file;
}

std::string TempFile(const std::string& name, const std::string& contents) {
  const std::string path = testing::TempDir() + "/tools_tensor_file_test_" + name;
  EXPECT_TRUE(WriteFileAtomically(path, contents).ok());
  return path;
}

TEST(NpyTest, ReadsTypeShapeAndElements) {
  const auto tensor = ParseNpy(Npy("<i2", "(2, 2)", Little(0x0004000300020001, 8)));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->dtype(), DType::kInt16);
  EXPECT_THAT(tensor->shape(), ElementsAre(2, 2));
  EXPECT_THAT(tensor->span<int16_t>(), ElementsAre(1, 2, 3, 4));
}

TEST(NpyTest, ReadsScalarsAndSingleDimensions) {
  const auto scalar = ParseNpy(Npy("<f8", "()", Little(0x3ff0000000000000, 8)));
  ASSERT_TRUE(scalar.ok()) << scalar.status();
  EXPECT_EQ(scalar->span<double>()[0], 1.0);
  const auto one = ParseNpy(Npy("|u1", "(3,)", "abc"));
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_THAT(one->shape(), ElementsAre(3));
}

TEST(NpyTest, RefusesWhatItDoesNotRead) {
  EXPECT_TRUE(absl::IsUnimplemented(ParseNpy(Npy(">f4", "(1,)", "abcd")).status()));
  EXPECT_TRUE(absl::IsUnimplemented(ParseNpy(Npy("<U4", "(1,)", "abcd")).status()));
  EXPECT_TRUE(absl::IsUnimplemented(ParseNpy(Npy("|u1", "(2, 2)", "abcd", "True")).status()));
}

TEST(NpyTest, RefusesShapesThatDoNotFitTheData) {
  for (const char* shape : {"(5,)", "(3,)", "(-4,)", "(4611686018427387904, 4)", "(x,)", "4"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseNpy(Npy("|u1", shape, "abcd")).status())) << shape;
  }
}

TEST(NpyTest, EveryTruncationIsRefused) {
  const std::string whole = Npy("<f4", "(2, 3)", std::string(24, 'x'));
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(ParseNpy(whole.substr(0, length)).ok()) << length;
  }
}

TEST(NpzTest, ReadsStoredAndDeflatedArrays) {
  for (const bool deflated : {false, true}) {
    const auto arrays = ParseNpz(Zip("x.npy", Npy("|u1", "(2, 2)", "abcd"), deflated), "a.npz");
    ASSERT_TRUE(arrays.ok()) << arrays.status();
    ASSERT_EQ(arrays->size(), 1u);
    ASSERT_TRUE(arrays->contains("x"));
    EXPECT_THAT(arrays->at("x").span<uint8_t>(), ElementsAre('a', 'b', 'c', 'd'));
  }
}

TEST(NpzTest, EveryTruncationIsRefused) {
  const std::string whole = Zip("x.npy", Npy("|u1", "(4,)", "abcd"), true);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(ParseNpz(whole.substr(0, length), "a.npz").ok()) << length;
  }
}

TEST(NpzTest, AnyDamagedByteIsRefusedOrHarmless) {
  const std::string whole = Zip("x.npy", Npy("|u1", "(4,)", "abcd"), true);
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char value : {'\x00', '\x7f', '\xff'}) {
      std::string damaged = whole;
      damaged[at] = value;
      const auto arrays = ParseNpz(damaged, "a.npz");
      if (!arrays.ok()) {
        EXPECT_FALSE(arrays.status().message().empty());
      }
    }
  }
}

TEST(NpzTest, ReadsWhatNumpyWrote) {
  const auto file =
      ReadTensorFile(absl::StrCat(BITMILL_SOURCE_DIR, "/models/golden/fmnist_tfc_w1a1.npz"));
  ASSERT_TRUE(file.ok()) << file.status();
  bool found = false;
  for (const NamedTensor& array : file->arrays) {
    if (array.name != "x") continue;
    found = true;
    EXPECT_EQ(array.tensor.dtype(), DType::kFloat32);
    ASSERT_EQ(array.tensor.shape().size(), 4u);
    EXPECT_EQ(array.tensor.shape()[3], 28);
  }
  EXPECT_TRUE(found);
}

TEST(IdxTest, ReadsBigEndianElements) {
  const auto tensor = ParseIdx(Idx(0x0c, {2}, std::string("\0\0\1\2\xff\xff\xff\xfe", 8)));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_THAT(tensor->span<int32_t>(), ElementsAre(0x102, -2));
}

TEST(IdxTest, EveryTruncationIsRefused) {
  const std::string whole = Idx(0x08, {2, 2, 3}, "abcdefghijkl");
  ASSERT_TRUE(ParseIdx(whole).ok());
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseIdx(whole.substr(0, length)).status())) << length;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(ParseIdx(whole + "x").status()));
}

TEST(IdxTest, RefusesShapesThatOverflow) {
  EXPECT_TRUE(absl::IsInvalidArgument(
      ParseIdx(Idx(0x0e, {UINT32_MAX, UINT32_MAX, UINT32_MAX}, "abcdefgh")).status()));
}

TEST(IdxTest, OnlyLooksLikeIdxWithAKnownTypeAndDimensions) {
  EXPECT_FALSE(LooksLikeIdx(Idx(0x0a, {1}, "a")));
  EXPECT_FALSE(LooksLikeIdx(std::string("\0\0\x08\0", 4)));
  EXPECT_FALSE(LooksLikeIdx("abc"));
}

TEST(PngTest, GrayAndColorKeepTheirChannels) {
  const auto gray = ParsePng(Png(3, 2, PNG_FORMAT_GRAY, "abcdef"));
  ASSERT_TRUE(gray.ok()) << gray.status();
  EXPECT_THAT(gray->shape(), ElementsAre(2, 3));
  EXPECT_THAT(gray->span<uint8_t>(), ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
  const auto color = ParsePng(Png(2, 1, PNG_FORMAT_RGB, "abcdef"));
  ASSERT_TRUE(color.ok()) << color.status();
  EXPECT_THAT(color->shape(), ElementsAre(1, 2, 3));
  EXPECT_THAT(color->span<uint8_t>(), ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
}

TEST(PngTest, AlphaIsDroppedWithoutChangingTheColors) {
  const auto tensor = ParsePng(Png(1, 1, PNG_FORMAT_RGBA, "abc\x80"));
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_THAT(tensor->span<uint8_t>(), ElementsAre('a', 'b', 'c'));
}

TEST(PngTest, EveryTruncationIsRefused) {
  const std::string whole = Png(4, 4, PNG_FORMAT_GRAY, "abcdefghijklmnop");
  const size_t image_end = whole.size() - 12;  // the last chunk only says that it is the last
  for (size_t length = 0; length < image_end; ++length) {
    EXPECT_FALSE(ParsePng(whole.substr(0, length)).ok()) << length;
  }
}

TEST(InflateTest, StopsAtTheLimit) {
  const std::string packed = Gzipped(std::string(1'000'000, 'x'));
  EXPECT_LT(packed.size(), 2'000u);
  EXPECT_TRUE(absl::IsResourceExhausted(Inflate(packed, DeflateFormat::kGzip, 999'999).status()));
  const auto unpacked = Inflate(packed, DeflateFormat::kGzip, 1'000'000);
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_EQ(unpacked->size(), 1'000'000u);
}

TEST(InflateTest, EveryTruncationIsRefused) {
  const std::string packed = Gzipped("some text that is some text");
  for (size_t length = 0; length < packed.size(); ++length) {
    EXPECT_FALSE(Inflate(packed.substr(0, length), DeflateFormat::kGzip, 1000).ok()) << length;
  }
}

TEST(TensorFileTest, GzippedIdxIsFoundByItsBytes) {
  const std::string path = TempFile("images-idx3-ubyte.gz", Gzipped(Idx(0x08, {1, 2, 2}, "abcd")));
  const auto file = ReadTensorFile(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->arrays.size(), 1u);
  EXPECT_EQ(file->arrays.front().name, "tools_tensor_file_test_images-idx3-ubyte");
  EXPECT_THAT(file->arrays.front().tensor.shape(), ElementsAre(1, 2, 2));
}

TEST(TensorFileTest, AnythingElseIsRaw) {
  const auto file = ReadTensorFile(TempFile("values.bin", "abcdefgh"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->arrays.empty());
  EXPECT_EQ(file->raw, "abcdefgh");
}

TEST(TensorFileTest, ErrorsNameTheFile) {
  const std::string path = TempFile("broken.npz", "PK\x03\x04 and then nothing of use at all");
  const auto file = ReadTensorFile(path);
  EXPECT_THAT(file.status().message(), HasSubstr(path));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadTensorFile(TempFile("empty", "")).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadTensorFile(path + ".missing").status()));
}

}  // namespace
}  // namespace bitmill
