#include "server/frontend/infer_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "server/frontend/utf8.h"
#include "tests/server/frontend/differential.h"
#include "tests/server/frontend/request_samples.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

std::string Bytes(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

TEST(ParseInferRequestTest, GivesViewsIntoTheBytes) {
  const std::string bytes = RawRequest().SerializeAsString();
  InferRequestView view;
  ASSERT_TRUE(ParseInferRequest(bytes, view).ok());
  EXPECT_EQ(view.model_name, "m");
  EXPECT_EQ(view.model_version, "1");
  EXPECT_EQ(view.id, "id-7");
  EXPECT_EQ(view.priority.bits, 2U);
  EXPECT_EQ(view.timeout.bits, 5'000U);
  ASSERT_EQ(view.inputs.size(), 1U);
  EXPECT_THAT(view.inputs[0].shape, ::testing::ElementsAre(2, 4));
  ASSERT_EQ(view.raw_inputs.size(), 1U);
  EXPECT_GE(view.raw_inputs[0].data(), bytes.data());
  EXPECT_LE(view.raw_inputs[0].data() + view.raw_inputs[0].size(), bytes.data() + bytes.size());
}

TEST(ParseInferRequestTest, MeansTheSameAsTheGeneratedClass) {
  EXPECT_EQ(DifferenceFromGenerated(""), "");
  EXPECT_EQ(DifferenceFromGenerated(RawRequest().SerializeAsString()), "");
  EXPECT_EQ(DifferenceFromGenerated(TypedRequest().SerializeAsString()), "");
  EXPECT_EQ(DifferenceFromGenerated(RawRequest().SerializeAsString() +
                                    TypedRequest().SerializeAsString()),
            "");
}

TEST(ParseInferRequestTest, MeansTheSameCutAtEveryByte) {
  for (const auto& request : {RawRequest(), TypedRequest()}) {
    const std::string bytes = request.SerializeAsString();
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_EQ(DifferenceFromGenerated(bytes.substr(0, length)), "") << length;
    }
  }
}

TEST(ParseInferRequestTest, MeansTheSameWithEveryByteChanged) {
  for (const auto& request : {RawRequest(1), TypedRequest()}) {
    const std::string bytes = request.SerializeAsString();
    for (size_t at = 0; at < bytes.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string changed = bytes;
        changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
        EXPECT_EQ(DifferenceFromGenerated(changed), "") << at << " bit " << bit;
      }
    }
  }
}

// Pieces of messages put together at random reach what single changes do not: repeated fields,
// merged messages, groups, long numbers.
TEST(ParseInferRequestTest, MeansTheSameForRandomCompositions) {
  std::mt19937_64 random(20240229);
  const std::string raw = RawRequest(1).SerializeAsString();
  const std::string typed = TypedRequest().SerializeAsString();
  const auto below = [&random](size_t limit) {
    return std::uniform_int_distribution<size_t>(0, limit - 1)(random);
  };
  const auto varint = [&](uint64_t value, size_t padding) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
    for (; padding > 0; --padding) {
      bytes.push_back(static_cast<char>(value | 0x80));
      value = 0;
    }
    bytes.push_back(static_cast<char>(value));
    return bytes;
  };
  for (int round = 0; round < 30'000; ++round) {
    std::string bytes;
    for (size_t part = 0; part < 1 + below(4); ++part) {
      std::string piece;
      switch (below(4)) {
        case 0:
          piece = raw.substr(below(raw.size()), 1 + below(24));
          break;
        case 1:
          piece = typed.substr(below(typed.size()), 1 + below(40));
          break;
        case 2:
          piece = varint(random() >> below(64), below(8) == 0 ? below(10) : 0);
          break;
        default:
          for (size_t i = below(6); i > 0; --i) piece.push_back(static_cast<char>(random()));
      }
      if (below(3) != 0) {  // as a field of its own
        piece = varint(below(9) << 3 | 2, 0) + varint(piece.size(), below(16) == 0 ? 2 : 0) + piece;
      }
      bytes += piece;
    }
    if (below(4) == 0) bytes = varint(5 << 3 | 2, 0) + varint(bytes.size(), 0) + bytes;
    ASSERT_EQ(DifferenceFromGenerated(bytes), "") << ::testing::PrintToString(bytes);
  }
}

TEST(ParseInferRequestTest, PassesOverUnknownFieldsOfEveryKind) {
  std::string bytes = RawRequest().SerializeAsString();
  bytes += Bytes({0xF8, 0x01, 0x05});                                // varint, field 31
  bytes += Bytes({0xF9, 0x01, 1, 2, 3, 4, 5, 6, 7, 8});              // fixed64
  bytes += Bytes({0xFD, 0x01, 1, 2, 3, 4});                          // fixed32
  bytes += Bytes({0xFA, 0x01, 2, 'h', 'i'});                         // bytes
  bytes += Bytes({0xFB, 0x01, 0x08, 0x01, 0x13, 0x14, 0xFC, 0x01});  // group with a group
  InferRequestView view;
  EXPECT_TRUE(ParseInferRequest(bytes, view).ok());
  EXPECT_EQ(DifferenceFromGenerated(bytes), "");
}

TEST(ParseInferRequestTest, RefusesGroupsNestedTooDeep) {
  std::string bytes;
  for (int depth = 0; depth < 100'000; ++depth) bytes += Bytes({0xFB, 0x01});
  InferRequestView view;
  EXPECT_EQ(ParseInferRequest(bytes, view).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ParseInferRequestTest, LimitsWhatASmallMessageCanTurnInto) {
  struct Case {
    std::string field;
    size_t limit;
    const char* says;
  };
  const std::vector<Case> cases = {
      {Bytes({0x2A, 0}), kMaxTensors, "1024 inputs"},
      {Bytes({0x32, 0}), kMaxTensors, "1024 outputs"},
      {Bytes({0x3A, 0}), kMaxTensors, "1024 raw inputs"},
  };
  for (const Case& c : cases) {
    std::string bytes;
    for (size_t i = 0; i < c.limit; ++i) bytes += c.field;
    InferRequestView full;
    EXPECT_TRUE(ParseInferRequest(bytes, full).ok()) << c.says;
    InferRequestView over;
    EXPECT_THAT(std::string(ParseInferRequest(bytes + c.field, over).message()), HasSubstr(c.says));
  }
  inference::ModelInferRequest request = RawRequest();
  for (size_t i = 2; i <= kMaxDimensions; ++i) request.mutable_inputs(0)->add_shape(1);
  InferRequestView view;
  EXPECT_THAT(std::string(ParseInferRequest(request.SerializeAsString(), view).message()),
              HasSubstr("32 dimensions"));
}

TEST(IsValidUtf8Test, FollowsTheStandard) {
  for (const char* const good : {"", "plain", "\u00e9\u2603", "\xF0\x90\x80\x80",
                                 "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF", "12345678\u00e9"}) {
    EXPECT_TRUE(IsValidUtf8(good)) << good;
  }
  for (const char* const bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x98", "1234567\xFF", "12345678\xC3"}) {
    EXPECT_FALSE(IsValidUtf8(bad)) << ::testing::PrintToString(std::string(bad));
  }
}

}  // namespace
}  // namespace bitmill
