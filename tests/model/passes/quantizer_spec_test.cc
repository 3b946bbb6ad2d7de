// Quantizers as thresholds give, for every float, what the operators themselves give.
#include "model/passes/quantizer_spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "model/passes/passes.h"
#include "tests/model/passes/graph_builder.h"

namespace bitmill {
namespace {

// Ties, their neighbours, both zeros, ends of the range and beyond, for steps of a half.
std::vector<float> Probes() {
  std::vector<float> probes{0.0F,
                            -0.0F,
                            1e-45F,
                            -1e-45F,
                            3e38F,
                            -3e38F,
                            1e-3F,
                            -1e-3F,
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()};
  for (int i = -560; i <= 560; ++i) {
    const float x = static_cast<float>(i) * 0.125F;
    probes.push_back(x);
    probes.push_back(std::nextafter(x, 1e9F));
    probes.push_back(std::nextafter(x, -1e9F));
  }
  return probes;
}

// A graph of the quantizer alone, [1,C] in and out, lowered: it must quantize, and as the original.
void CheckQuantizer(GraphBuilder& builder, ValueId output, const std::string& what) {
  SCOPED_TRACE(what);
  const Graph graph = builder.Build({output});
  const auto lowered = Lower(graph);
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  EXPECT_EQ(LoweredOps(*lowered), (std::vector<std::string>{"quantize", "dequantize"}));
  EXPECT_EQ(RunLowered(*lowered, Probes()), RunOriginal(graph, Probes()));
}

int64_t Width() { return static_cast<int64_t>(Probes().size()); }

TEST(QuantizerSpecTest, QuantOfEveryWidthSignAndRounding) {
  for (const char* mode : {"ROUND", "half_even", "FLOOR", "CEIL", "ROUND_TO_ZERO", "DOWN", "UP",
                           "HALF_UP", "HALF_DOWN"}) {
    for (int bits = 1; bits <= 8; ++bits) {
      for (int kind = 0; kind < 4; ++kind) {
        const auto is_signed = static_cast<int64_t>(kind % 2);
        const auto narrow = static_cast<int64_t>(kind / 2);
        if (bits == 1 && is_signed == 0 && narrow == 1) continue;  // one level
        GraphBuilder b;
        const ValueId x = b.Input("x", {1, Width()});
        const ValueId y =
            b.Op("Quant",
                 {x, b.Scalar(0.5F), b.Scalar(bits == 1 ? 0.0F : 2.0F),
                  b.Scalar(static_cast<float>(bits))},
                 {{"signed", is_signed}, {"narrow", narrow}, {"rounding_mode", std::string(mode)}});
        CheckQuantizer(b, y, absl::StrCat(mode, " ", bits, " bits, kind ", kind));
      }
    }
  }
}

TEST(QuantizerSpecTest, QuantizeLinearOfBothTypes) {
  for (const DType dtype : {DType::kInt8, DType::kUInt8}) {
    GraphBuilder b;
    const ValueId scale = b.Scalar(0.5F);
    const ValueId zero = dtype == DType::kInt8 ? b.ConstantOf<int8_t>(dtype, {}, {-7})
                                               : b.ConstantOf<uint8_t>(dtype, {}, {99});
    const ValueId x = b.Op("QuantizeLinear", {b.Input("x", {1, Width()}), scale, zero});
    CheckQuantizer(b, b.Op("DequantizeLinear", {x, scale, zero}), "QuantizeLinear");
  }
}

TEST(QuantizerSpecTest, TruncThatClamps) {
  for (const char* mode : {"FLOOR", "ROUND", "CEIL"}) {
    GraphBuilder b;
    const ValueId x = b.Input("x", {1, Width()});
    CheckQuantizer(
        b,
        b.Op("Trunc",
             {x, b.Scalar(0.25F), b.Scalar(0.0F), b.Scalar(8.0F), b.Scalar(2.0F), b.Scalar(4.0F)},
             {{"signed", int64_t{1}}, {"rounding_mode", std::string(mode)}}),
        mode);
  }
}

TEST(QuantizerSpecTest, MultiThresholdInAnyOrderAndWithThresholdsNeverReached) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  GraphBuilder b;
  const ValueId x = b.Input("x", {1, Width()});
  CheckQuantizer(b, b.MultiThreshold(x, 1, {3.0F, -1.0F, 3.0F, -kInfinity, 0.5F}, 0.5F, -1.0F),
                 "unsorted");
}

TEST(QuantizerSpecTest, MultiThresholdWithoutAnIntegerZeroPointStaysFloat) {
  GraphBuilder b;
  const ValueId x = b.Input("x", {1, 4});
  const auto lowered = Lower(b.Build({b.MultiThreshold(x, 1, {0.0F, 1.0F}, 1.0F, 0.3F)}));
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  EXPECT_EQ(LoweredOps(*lowered), std::vector<std::string>{"MultiThreshold"});
}

TEST(QuantizerSpecTest, ScaleAChannelStaysFloat) {
  GraphBuilder b;
  const ValueId x = b.Input("x", {1, 2});
  const ValueId y = b.Op("BipolarQuant", {x, b.Constant({1, 2}, {0.5F, 0.25F})});
  const auto lowered = Lower(b.Build({y}));
  ASSERT_TRUE(lowered.ok()) << lowered.status();
  EXPECT_EQ(LoweredOps(*lowered), std::vector<std::string>{"BipolarQuant"});
}

TEST(QuantizerSpecTest, RecoverySpecReadsCodesBack) {
  const CodeInfo info{CodeKind::kUInt8, 0.3F, 2, 7};
  const QuantizerSpec spec = RecoverySpec(info);
  for (int32_t code = 0; code < info.levels; ++code) {
    const float real = info.scale * static_cast<float>(code - info.zero_point);
    int32_t reached = 0;
    for (const float t : spec.thresholds) reached += real >= t ? 1 : 0;
    EXPECT_EQ(reached, code);
  }
}

}  // namespace
}  // namespace bitmill
