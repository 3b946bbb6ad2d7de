// Accumulators to codes and bits: every kernel against the formulas of kernels/requant/requant.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <limits>
#include <random>

#include "tests/kernels/guarded.h"
#include "tests/kernels/kernels_under_test.h"

namespace bitmill::test {
namespace {

GuardedRegion* Region(int index) {
  static GuardedRegion regions[5];
  return &regions[index];
}

struct RequantCase {
  int32_t pixels = 1, channels = 1, levels = 2;
  std::vector<int32_t> acc, thresholds;  // thresholds empty: affine
  std::vector<float> scale, bias;
  bool bits = false;

  int64_t acc_pixel() const { return channels + 2; }
  int64_t out_pixel() const { return (bits ? (channels + 7) / 8 : channels) + 3; }
  int64_t padded() const { return (channels + 7) / 8 * 8; }
};

RequantCase MakeCase(int32_t pixels, int32_t channels, int32_t levels, std::mt19937& random) {
  RequantCase c;
  c.pixels = pixels;
  c.channels = channels;
  c.levels = levels;
  c.acc.resize((pixels - 1) * c.acc_pixel() + channels);
  for (int32_t& value : c.acc) value = static_cast<int32_t>(random() % 401) - 200;
  for (size_t i = 0; i < c.acc.size(); i += 11) c.acc[i] = i % 2 == 0 ? INT_MAX : INT_MIN;
  return c;
}

void AddThresholds(RequantCase* c, std::mt19937& random) {
  c->thresholds.assign((c->levels - 1) * c->padded(), 99);
  for (int32_t k = 0; k < c->channels; ++k) {
    std::vector<int32_t> ascending(c->levels - 1);
    for (int32_t& value : ascending) value = static_cast<int32_t>(random() % 301) - 150;
    if (k % 5 == 0) ascending[0] = INT_MIN;
    if (k % 7 == 0) ascending.back() = INT_MAX;
    std::sort(ascending.begin(), ascending.end());
    for (int32_t i = 0; i < c->levels - 1; ++i) c->thresholds[i * c->padded() + k] = ascending[i];
  }
}

uint8_t ExpectedCode(const RequantCase& c, int32_t acc, int32_t channel) {
  if (!c.thresholds.empty()) {
    int32_t code = 0;
    while (code < c.levels - 1 && c.thresholds[code * c.padded() + channel] <= acc) ++code;
    return static_cast<uint8_t>(code);
  }
  const float scaled = static_cast<float>(acc) * c.scale[channel];
  const float value = scaled + c.bias[channel];
  if (std::isnan(value)) return 0;
  const float top = static_cast<float>(c.levels - 1);
  return static_cast<uint8_t>(std::nearbyint(std::fmin(std::fmax(value, 0.0f), top)));
}

void ExpectAllKernelsRight(const RequantCase& c) {
  static const std::vector<RequantKernel> kernels = RequantKernelsUnderTest();
  const int64_t used = c.bits ? (c.channels + 7) / 8 : c.channels;
  std::vector<uint8_t> expected((c.pixels - 1) * c.out_pixel() + used, 0xcd);
  for (int32_t p = 0; p < c.pixels; ++p) {
    for (int32_t k = 0; k < c.channels; ++k) {
      const int32_t acc = c.acc[p * c.acc_pixel() + k];
      if (!c.bits) {
        expected[p * c.out_pixel() + k] = ExpectedCode(c, acc, k);
        continue;
      }
      uint8_t& byte = expected[p * c.out_pixel() + k / 8];
      if (k % 8 == 0) byte = 0;
      byte = static_cast<uint8_t>(byte | (acc < c.thresholds[k]) << k % 8);
    }
  }
  for (const RequantKernel& kernel : kernels) {
    for (const Flush flush : {Flush::kFront, Flush::kBack}) {
      RequantArgs args = {};
      args.acc = Region(0)->PlaceCopy(c.acc, flush);
      args.acc_pixel = c.acc_pixel();
      args.pixels = c.pixels;
      args.channels = c.channels;
      args.levels = c.levels;
      if (!c.thresholds.empty()) {
        args.thresholds = Region(1)->PlaceCopy(c.thresholds, flush);
      } else {
        args.scale = Region(2)->PlaceCopy(c.scale, flush);
        args.bias = Region(3)->PlaceCopy(c.bias, flush);
      }
      uint8_t* out = Region(4)->Place<uint8_t>(expected.size(), flush);
      (c.bits ? args.out_bits : args.out_codes) = out;
      args.out_pixel = c.out_pixel();
      kernel.run(args);
      ASSERT_EQ(std::vector<uint8_t>(out, out + expected.size()), expected)
          << kernel.name << ": pixels " << c.pixels << ", channels " << c.channels << ", levels "
          << c.levels << ", bits " << c.bits << ", affine " << c.thresholds.empty();
    }
  }
}

TEST(RequantTest, CountsThresholdsForAllChannelCounts) {
  std::mt19937 random(1);
  for (int32_t channels = 1; channels <= 130; ++channels) {
    for (const int32_t levels : {2, 3, 4, 16, 17, 63, 64, 65, 128, 255, 256}) {
      RequantCase c = MakeCase(1 + channels % 6, channels, levels, random);
      AddThresholds(&c, random);
      ExpectAllKernelsRight(c);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(RequantTest, MakesBitsForAllChannelCounts) {
  std::mt19937 random(2);
  for (int32_t channels = 1; channels <= 130; ++channels) {
    for (int32_t pixels = 1; pixels <= 9; ++pixels) {
      RequantCase c = MakeCase(pixels, channels, 2, random);
      AddThresholds(&c, random);
      c.bits = true;
      ExpectAllKernelsRight(c);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(RequantTest, RoundsAffineCodesForAllChannelCounts) {
  std::mt19937 random(3);
  for (int32_t channels = 1; channels <= 130; ++channels) {
    for (const int32_t levels : {2, 4, 16, 128, 255, 256}) {
      RequantCase c = MakeCase(1 + channels % 9, channels, levels, random);
      c.scale.resize(c.padded());
      c.bias.resize(c.padded());
      // Multiples of a half, so that many values lie between two codes.
      for (float& value : c.scale) value = static_cast<float>(random() % 9) / 2.0f - 2.0f;
      for (float& value : c.bias) value = static_cast<float>(random() % 99) / 2.0f;
      c.scale[channels / 2] = std::numeric_limits<float>::quiet_NaN();
      ExpectAllKernelsRight(c);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(RequantTableTest, SelectsTheBestAllowed) {
  EXPECT_STREQ(SelectRequant(Isa::kRef).name, "requant_ref");
  int count = 0;
  const RequantKernel* kernels = RequantKernels(&count);
  for (int i = 0; i < count; ++i) {
    EXPECT_STREQ(SelectRequant(kernels[i].isa).name, kernels[i].name);
  }
}

}  // namespace
}  // namespace bitmill::test
