// Every binary convolution kernel against the definition, bit for bit.
#include <gtest/gtest.h>

#include <tuple>
#include <utility>

#include "kernels/bconv/sparse_bconv.h"
#include "tests/kernels/bconv_case.h"
#include "tests/kernels/kernels_under_test.h"
#include "tests/support/effort.h"

namespace bitmill::test {
namespace {

constexpr BconvOutput kOutputs[] = {BconvOutput::kBits, BconvOutput::kInt32, BconvOutput::kFloat};

void ExpectAllKernelsRight(const BconvShape& shape, uint32_t seed) {
  static const std::vector<BconvKernel> kernels = BconvKernelsUnderTest();
  const BconvCase problem(shape, seed);
  const std::vector<uint8_t> expected = problem.Expected();
  for (const BconvKernel& kernel : kernels) {
    for (const BconvPrepared prepared :
         {BconvPrepared::kNone, BconvPrepared::kThisCall, BconvPrepared::kOnePixel}) {
      if (prepared != BconvPrepared::kNone && kernel.prepare == nullptr) continue;
      for (const Flush flush : {Flush::kFront, Flush::kBack}) {
        ASSERT_EQ(problem.Run(kernel, prepared, flush), expected)
            << kernel.name << ": " << shape.ToString() << ", seed " << seed << ", prepared "
            << static_cast<int>(prepared);
      }
    }
  }
}

class BconvTest : public ::testing::TestWithParam<int32_t> {};

// Every count of either with every third of the other; pixel count and output change along.
TEST_P(BconvTest, IsExactForAllChannelCounts) {
  for (int32_t channels = 1; channels <= 130; channels += kSlowRun ? 3 : 1) {
    for (int32_t out_channels = 1 + channels % 3; out_channels <= 130; out_channels += 3) {
      const BconvShape shape{.in_w = 1 + out_channels % 10,
                             .channels = channels,
                             .out_channels = out_channels,
                             .planes = GetParam(),
                             .negate = out_channels % 2 == 0,
                             .output = kOutputs[out_channels / 3 % 3]};
      ExpectAllKernelsRight(shape, channels * 131 + out_channels);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(BconvTest, IsExactForStridesDilationsAndPaddings) {
  uint32_t seed = 1;
  for (int32_t stride = 1; stride <= 3; ++stride) {
    for (int32_t dilation = 1; dilation <= 3; ++dilation) {
      for (const int32_t pad : {0, 1, 2}) {
        for (const int32_t pad_value : {0, 1, -1}) {
          for (const BconvOutput output : kOutputs) {
            const BconvShape shape{.batch = 2,
                                   .in_h = 9,
                                   .in_w = 11,
                                   .channels = 70,
                                   .out_channels = 19,
                                   .kernel_h = 3,
                                   .kernel_w = 3,
                                   .stride_h = stride,
                                   .stride_w = 4 - stride,
                                   .dilation_h = dilation,
                                   .dilation_w = dilation == 3 ? 1 : dilation,
                                   .pad = pad,
                                   .pad_value = pad_value,
                                   .planes = GetParam(),
                                   .negate = true,
                                   .output = output};
            ExpectAllKernelsRight(shape, ++seed);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST_P(BconvTest, IsExactForEveryNumberOfPixels) {
  for (int32_t width = 1; width <= 40; ++width) {
    for (const int32_t out_channels : {8, 33, 64, 72}) {
      const BconvShape shape{.batch = width % 3 + 1,
                             .in_h = 3,
                             .in_w = width,
                             .channels = 9,
                             .out_channels = out_channels,
                             .kernel_h = 3,
                             .kernel_w = 3,
                             .pad = 1,
                             .planes = GetParam(),
                             .output = kOutputs[width % 3]};
      ExpectAllKernelsRight(shape, width);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(BconvTest, ReadsOneGroupOfAWiderPixel) {
  for (int32_t channels = 1; channels <= 193; channels += 16) {
    for (const BconvOutput output : kOutputs) {
      const BconvShape shape{.batch = 2,
                             .in_h = 5,
                             .in_w = 6,
                             .channels = channels,
                             .out_channels = 24,
                             .kernel_h = 2,
                             .kernel_w = 3,
                             .pad = 1,
                             .pad_value = -1,
                             .planes = GetParam(),
                             .extra_words = 1 + channels % 3,
                             .output = output};
      ExpectAllKernelsRight(shape, channels);
      if (HasFatalFailure()) return;
    }
  }
}

// Narrow partial sums overflow only when nearly all products of a long row are -1.
TEST_P(BconvTest, IsExactForLongRowsOfMinusOnes) {
  for (const int32_t words : {3, 4, 5, 15, 16, 17, 30, 31, 32, 33, 62, 63, 64, 127, 260, 1030}) {
    for (const bool extreme : {true, false}) {
      for (const int32_t width : {1, 9}) {
        const BconvShape shape{.in_w = width,
                               .channels = words * 64,
                               .out_channels = 40,
                               .planes = GetParam(),
                               .extreme = extreme,
                               .output = kOutputs[words % 3]};
        ExpectAllKernelsRight(shape, words);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Sums of bits count up to the whole row only when everything is -1.
TEST_P(BconvTest, IsExactForLongRowsOfMinusOnesTimesMinusOnes) {
  for (const int32_t words : {1, 3, 4, 15, 16, 17, 64, 127, 256, 257}) {
    for (const int32_t width : {1, 2, 9}) {
      const BconvShape shape{.in_w = width,
                             .channels = words * 64,
                             .out_channels = words < 64 ? 520 : 392,
                             .planes = GetParam(),
                             .all_minus = true,
                             .output = kOutputs[words % 3]};
      ExpectAllKernelsRight(shape, words);
      if (HasFatalFailure()) return;
    }
  }
}

// Kernels cut many channels into groups; the last one is partly empty.
TEST_P(BconvTest, IsExactForManyOutputChannels) {
  for (const int32_t out_channels : {255, 256, 257, 384, 500, 511, 512, 513, 768, 769, 1100}) {
    for (const int32_t width : {1, 3, 10}) {
      for (const BconvOutput output : kOutputs) {
        const BconvShape shape{.in_w = width,
                               .channels = 200,
                               .out_channels = out_channels,
                               .planes = GetParam(),
                               .negate = true,
                               .output = output};
        ExpectAllKernelsRight(shape, out_channels);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Kernels with tiles leave fewer pixels to others.
TEST_P(BconvTest, IsExactForManyPixels) {
  uint32_t seed = 1;
  for (const int32_t out_channels : {1, 8, 15, 16, 17, 31, 32, 40, 49, 64, 130}) {
    for (const int32_t stride : {1, 2, 3}) {
      for (const int32_t kernel : {1, 3}) {
        const int32_t variant = static_cast<int32_t>(++seed);
        const BconvShape shape{.batch = variant % 3 + 1,
                               .in_h = 12 * stride + variant % 2,
                               .in_w = 13 * stride + variant % 5,
                               .channels = 1 + variant * 37 % 140,
                               .out_channels = out_channels,
                               .kernel_h = kernel,
                               .kernel_w = kernel,
                               .stride_h = stride,
                               .stride_w = variant % 4 == 0 ? 1 : stride,
                               .dilation_h = 1 + variant % 2,
                               .pad = variant % 3,
                               .pad_value = variant % 3 - 1,
                               .planes = GetParam(),
                               .extra_words = variant % 2,
                               .negate = variant % 2 == 0,
                               .output = kOutputs[variant % 3]};
        ExpectAllKernelsRight(shape, seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Kernels that work on a part of the lines or images at a time.
TEST_P(BconvTest, IsExactForLargeInputs) {
  for (const auto& [batch, side, channels] :
       {std::tuple{1, 100, 64}, {6, 40, 64}, {2, 66, 130}, {1, 12, 2600}}) {
    const BconvShape shape{.batch = batch,
                           .in_h = side,
                           .in_w = side,
                           .channels = channels,
                           .out_channels = 19,
                           .kernel_h = 3,
                           .kernel_w = 3,
                           .pad = 1,
                           .planes = GetParam(),
                           .output = kOutputs[side % 3]};
    ExpectAllKernelsRight(shape, static_cast<uint32_t>(side));
    if (HasFatalFailure()) return;
  }
}

TEST_P(BconvTest, IsExactForLayersOfRealNetworks) {
  for (const auto& [side, channels] : {std::pair{14, 64}, {10, 128}, {7, 256}, {4, 512}}) {
    for (const BconvOutput output : kOutputs) {
      const BconvShape shape{.in_h = side,
                             .in_w = side,
                             .channels = channels,
                             .out_channels = channels / 2 + 8,
                             .kernel_h = 3,
                             .kernel_w = 3,
                             .pad = 1,
                             .planes = GetParam(),
                             .output = output};
      ExpectAllKernelsRight(shape, side);
      if (HasFatalFailure()) return;
    }
  }
}

// Sparse weights, whatever the groups that share a list, against the definition.
void ExpectSparseRight(const BconvShape& shape, uint32_t seed) {
  static const std::vector<BconvKernel> kernels = BconvKernelsUnderTest();
  const BconvCase problem(shape, seed);
  const std::vector<uint8_t> expected = problem.Expected();
  for (const BconvKernel& kernel : kernels) {
    if (kernel.sparse.count == 0) continue;
    for (const int32_t group_channels : {8, 16, 24, 32, 64, 96, 128, 256}) {
      for (const BconvPrepared prepared :
           {BconvPrepared::kNone, BconvPrepared::kThisCall, BconvPrepared::kOnePixel}) {
        if (prepared != BconvPrepared::kNone && kernel.prepare == nullptr) continue;
        const Flush flush = group_channels % 3 == 0 ? Flush::kFront : Flush::kBack;
        ASSERT_EQ(problem.Run(kernel, prepared, flush, group_channels), expected)
            << kernel.name << ": " << shape.ToString() << ", seed " << seed << ", groups of "
            << group_channels << ", prepared " << static_cast<int>(prepared);
      }
    }
  }
}

class SparseBconvTest : public ::testing::TestWithParam<bool> {};

TEST_P(SparseBconvTest, IsExactForAllDensitiesAndPaddings) {
  uint32_t seed = 1;
  for (const int32_t empty_percent : {0, 20, 50, 90, 100}) {
    for (const int32_t empty_channels : {8, 16, 128}) {
      for (const int32_t pad_value : {0, 1, -1}) {
        for (const BconvOutput output : kOutputs) {
          const BconvShape shape{.batch = 2,
                                 .in_h = 4,
                                 .in_w = 5,
                                 .channels = 150,
                                 .out_channels = 140,
                                 .kernel_h = 3,
                                 .kernel_w = 3,
                                 .stride_w = 1 + static_cast<int32_t>(seed % 2),
                                 .pad = 1,
                                 .pad_value = pad_value,
                                 .planes = 2,
                                 .negate = true,
                                 .empty_percent = empty_percent,
                                 .empty_channels = empty_channels,
                                 .full = GetParam(),
                                 .output = output};
          ExpectSparseRight(shape, ++seed);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(SparseBconvTest, IsExactForOddChannelCountsAndFewPixels) {
  for (int32_t channels = 1; channels <= 330; channels += 41) {
    for (int32_t out_channels = 1 + channels % 5; out_channels <= 300; out_channels += 37) {
      const BconvShape shape{.in_w = 1 + out_channels % 10,
                             .channels = channels,
                             .out_channels = out_channels,
                             .planes = 2,
                             .extra_words = channels % 3,
                             .empty_percent = 60,
                             .full = GetParam(),
                             .output = kOutputs[out_channels % 3]};
      ExpectSparseRight(shape, channels * 131 + out_channels);
      if (HasFatalFailure()) return;
    }
  }
}

// Longer lists than kernels keep at a time.
TEST_P(SparseBconvTest, IsExactForLongRows) {
  for (const int32_t words : {31, 64, 257, 1030, 2100}) {
    for (const int32_t width : {1, 3, 9}) {
      const BconvShape shape{.in_w = width,
                             .channels = words * 64 - 3,
                             .out_channels = 72,
                             .planes = 2,
                             .all_minus = true,
                             .empty_percent = words % 2 == 0 ? 5 : 50,
                             .empty_channels = 72,
                             .full = GetParam(),
                             .output = kOutputs[words % 3]};
      ExpectSparseRight(shape, words);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, SparseBconvTest, ::testing::Values(false, true),
                         [](const auto& suite) { return suite.param ? "OnePlane" : "TwoPlanes"; });

TEST(SparseBconvWeightsTest, ListsWhatIsNotEmptyAndDropsNeedlessMasks) {
  // 16 outputs of 70 channels and 3 taps; outputs 8 to 15 use only the last tap's first word.
  constexpr int32_t kOuts = 16, kChannels = 70, kTaps = 3;
  std::vector<int8_t> weights(kOuts * kChannels * kTaps);
  for (int32_t o = 0; o < kOuts; ++o) {
    for (int32_t c = 0; c < kChannels; ++c) {
      for (int32_t t = 0; t < kTaps; ++t) {
        weights[(o * kChannels + c) * kTaps + t] = o < 8 ? t == 0 : t == 2 && c < 64;
      }
    }
  }
  std::vector<uint64_t> packed(PackedBconvWords(kOuts, kChannels, kTaps, 2));
  PackBconvWeights(weights.data(), kOuts, kChannels, kTaps, 2, nullptr, packed.data());
  const std::vector<int32_t> tap_words = {0, 10, 20};
  BconvArgs args = {};
  args.c_words = 2;
  args.taps = kTaps;
  args.tap_words = tap_words.data();
  args.out_channels = kOuts;
  args.planes = 2;
  args.weights = packed.data();
  EXPECT_DOUBLE_EQ(BconvDensity(args, 8), 3.0 / 12);
  EXPECT_DOUBLE_EQ(BconvDensity(args, 16), 3.0 / 6);
  const SparseBconv by_eight = MakeSparseBconv(args, kChannels, 8);
  EXPECT_EQ(by_eight.first_word, (std::vector<int32_t>{0, 2, 3}));
  EXPECT_EQ(by_eight.words, (std::vector<int32_t>{0, 1, 20}));
  EXPECT_EQ(by_eight.planes, 1);
  EXPECT_EQ(by_eight.weights.size(), 3 * 8 * 8);
  // Together each word has lanes of zeros: the masks stay.
  const SparseBconv by_sixteen = MakeSparseBconv(args, kChannels, 16);
  EXPECT_EQ(by_sixteen.words, (std::vector<int32_t>{0, 1, 20}));
  EXPECT_EQ(by_sixteen.planes, 2);
}

INSTANTIATE_TEST_SUITE_P(Planes, BconvTest, ::testing::Values(1, 2),
                         [](const auto& suite) { return suite.param == 1 ? "Binary" : "Ternary"; });

TEST(BconvTableTest, SelectsTheBestAllowed) {
  EXPECT_STREQ(SelectBconv(Isa::kRef).name, "bconv_ref");
  int count = 0;
  const BconvKernel* kernels = BconvKernels(&count);
  for (int i = 0; i < count; ++i) {
    EXPECT_STREQ(SelectBconv(kernels[i].isa).name, kernels[i].name);
  }
}

}  // namespace
}  // namespace bitmill::test
