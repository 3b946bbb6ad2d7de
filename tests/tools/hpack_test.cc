// Against the examples of RFC 7541, appendix C.
#include "tools/load/hpack.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using Fields = std::vector<std::pair<std::string, std::string>>;

absl::StatusOr<Fields> Decode(HpackDecoder& decoder, const std::string& block) {
  Fields fields;
  const absl::Status status =
      decoder.Decode(block, [&fields](absl::string_view name, absl::string_view value) {
        fields.emplace_back(std::string(name), std::string(value));
      });
  if (!status.ok()) return status;
  return fields;
}

absl::StatusOr<Fields> DecodeHex(HpackDecoder& decoder, const std::string& hex) {
  return Decode(decoder, absl::HexStringToBytes(hex));
}

TEST(HpackTest, RequestsWithHuffmanCodes) {  // C.4
  HpackDecoder decoder;
  EXPECT_THAT(*DecodeHex(decoder, "828684418cf1e3c2e5f23a6ba0ab90f4ff"),
              ElementsAre(Pair(":method", "GET"), Pair(":scheme", "http"), Pair(":path", "/"),
                          Pair(":authority", "www.example.com")));
  EXPECT_THAT(
      *DecodeHex(decoder, "828684be5886a8eb10649cbf"),
      ElementsAre(Pair(":method", "GET"), Pair(":scheme", "http"), Pair(":path", "/"),
                  Pair(":authority", "www.example.com"), Pair("cache-control", "no-cache")));
  EXPECT_THAT(
      *DecodeHex(decoder, "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"),
      ElementsAre(Pair(":method", "GET"), Pair(":scheme", "https"), Pair(":path", "/index.html"),
                  Pair(":authority", "www.example.com"), Pair("custom-key", "custom-value")));
}

TEST(HpackTest, LiteralWithoutHuffmanCode) {  // C.2.1
  HpackDecoder decoder;
  EXPECT_THAT(*DecodeHex(decoder, "400a637573746f6d2d6b65790d637573746f6d2d686561646572"),
              ElementsAre(Pair("custom-key", "custom-header")));
}

TEST(HpackTest, ASmallerTableForgetsTheOldest) {
  HpackDecoder decoder;
  ASSERT_TRUE(Decode(decoder, HpackInsert("one", "1") + HpackInsert("two", "2")).ok());
  EXPECT_THAT(*Decode(decoder, HpackInserted(0) + HpackInserted(1)),
              ElementsAre(Pair("two", "2"), Pair("one", "1")));
  ASSERT_TRUE(Decode(decoder, "\x3f\x09").ok());  // 40 bytes: room for one
  EXPECT_THAT(*Decode(decoder, HpackInserted(0)), ElementsAre(Pair("two", "2")));
  EXPECT_FALSE(Decode(decoder, HpackInserted(1)).ok());
}

TEST(HpackTest, HuffmanCodesOfEveryLengthDecode) {
  std::string text;
  EXPECT_TRUE(HuffmanDecode(absl::HexStringToBytes("9d29ad171863c78f0b97c8e9ae82ae43d3"), &text));
  EXPECT_EQ(text, "https://www.example.com");
  text.clear();
  EXPECT_TRUE(HuffmanDecode("", &text));
  EXPECT_EQ(text, "");
  text.clear();
  EXPECT_TRUE(HuffmanDecode("\xff\xc7", &text));  // 13 bits of symbol 0, padding
  EXPECT_EQ(text, std::string(1, '\0'));
}

TEST(HpackTest, BadPaddingIsRefused) {
  std::string text;
  EXPECT_FALSE(HuffmanDecode(std::string(1, '\0') + std::string(1, '\0'), &text)) << "zeros";
  EXPECT_FALSE(HuffmanDecode("\xff", &text)) << "a whole byte of padding";
  EXPECT_FALSE(HuffmanDecode("\xff\xff\xff\xff", &text)) << "the end of the string";
}

TEST(HpackTest, MalformedBlocksAreRefused) {
  for (const char* hex : {"80", "be", "ffffffffffffffff7f", "3fffffff7f", "40", "400a6375", "4085",
                          "0f", "00", "7f"}) {
    HpackDecoder decoder;
    EXPECT_TRUE(absl::IsInvalidArgument(DecodeHex(decoder, hex).status())) << hex;
  }
}

TEST(HpackTest, EveryBlockOfTwoBytesEndsWell) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      HpackDecoder decoder;
      const std::string block = {static_cast<char>(a), static_cast<char>(b)};
      const auto fields = Decode(decoder, block);
      EXPECT_TRUE(fields.ok() || absl::IsInvalidArgument(fields.status())) << a << " " << b;
    }
  }
}

}  // namespace
}  // namespace bitmill
