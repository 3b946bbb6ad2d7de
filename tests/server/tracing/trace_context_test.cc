#include "server/tracing/trace_context.h"

#include <gtest/gtest.h>

#include <string>

namespace bitmill {
namespace {

constexpr char kValid[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(TraceContextTest, ReadsTheIdentifiersAndTheSampledFlag) {
  const std::optional<TraceContext> context = ParseTraceParent(kValid);
  ASSERT_TRUE(context);
  EXPECT_EQ(context->trace.Hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(context->parent_span, 0x00f067aa0ba902b7U);
  EXPECT_TRUE(context->sampled);
  EXPECT_EQ(TraceIdBytes(context->trace),
            std::string("\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36"));
  EXPECT_EQ(SpanIdBytes(context->parent_span), std::string("\x00\xf0\x67\xaa\x0b\xa9\x02\xb7", 8));
}

TEST(TraceContextTest, OnlyTheLowestFlagMeansSampled) {
  std::string header = kValid;
  for (const auto& [flags, sampled] :
       {std::pair{"00", false}, {"01", true}, {"02", false}, {"03", true}, {"ff", true}}) {
    header.replace(53, 2, flags);
    ASSERT_TRUE(ParseTraceParent(header)) << flags;
    EXPECT_EQ(ParseTraceParent(header)->sampled, sampled) << flags;
  }
}

TEST(TraceContextTest, ReadsWhatItKnowsOfNewerVersions) {
  std::string header = kValid;
  header.replace(0, 2, "cc");
  EXPECT_TRUE(ParseTraceParent(header));
  EXPECT_TRUE(ParseTraceParent(header + "-what-the-future-brings"));
  EXPECT_FALSE(ParseTraceParent(header + ".what-the-future-brings"));
}

TEST(TraceContextTest, RefusesWhatDoesNotFollowTheSpecification) {
  const std::string valid = kValid;
  const auto with = [&valid](size_t at, const std::string& text) {
    std::string header = valid;
    return header.replace(at, text.size(), text);
  };
  for (const std::string& header : {
           std::string(), valid.substr(0, 54), valid + "0",
           valid + "-00",                   // version 00 has nothing more
           with(0, "ff"),                   // forbidden
           with(0, "0x"),                   //
           with(3, std::string(32, '0')),   // no trace
           with(36, std::string(16, '0')),  // no span
           with(3, "4BF92F35"),             // upper case
           with(36, "g"),                   //
           with(53, "0 "),                  //
           with(2, "_"),                    //
           with(35, "_"),                   //
           with(52, "_"),                   //
       }) {
    EXPECT_FALSE(ParseTraceParent(header)) << header;
  }
}

}  // namespace
}  // namespace bitmill
