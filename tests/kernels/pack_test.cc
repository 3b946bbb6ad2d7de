// Sign and quantization of floats: every kernel against the formulas of kernels/pack/pack.h.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/half.h"
#include "kernels/pack/sign_key.h"
#include "tests/kernels/guarded.h"
#include "tests/kernels/kernels_under_test.h"

namespace bitmill::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

enum class Order { kChannelsInner, kPixelsInner, kNeither };

struct Layout {
  int64_t pixel, channel, size;  // strides and extent, in elements
};

Layout LayoutOf(Order order, int64_t pixels, int64_t channels) {
  switch (order) {
    case Order::kChannelsInner:
      return {channels + 2, 1, (pixels - 1) * (channels + 2) + channels};
    case Order::kPixelsInner:
      return {1, pixels + 3, (channels - 1) * (pixels + 3) + pixels};
    case Order::kNeither:
      break;
  }
  return {3 * channels, 3, (pixels - 1) * 3 * channels + (channels - 1) * 3 + 1};
}

// A value near 0 or a threshold, or one of those that comparisons treat specially.
float AnyValue(std::mt19937& random) {
  constexpr float kSpecial[] = {0.0f, -0.0f, kNan, kInfinity, -kInfinity, 1e-45f, -1e-45f, 0.5f};
  if (random() % 4 == 0) return kSpecial[random() % 8];
  return static_cast<float>(static_cast<int32_t>(random() % 17) - 8) / 4.0f;
}

GuardedRegion* Region(int index) {
  static GuardedRegion regions[4];
  return &regions[index];
}

enum class Invert { kNone, kSome };

struct SignCase {
  int32_t pixels, channels;
  Order order;
  bool per_channel;
  Invert invert;
};

class SignPackTest : public ::testing::TestWithParam<Order> {
 protected:
  // The bit by the contract: set when the value is not at least the threshold, unless inverted.
  void ExpectAllKernelsRight(const SignCase& c, uint32_t seed) {
    std::mt19937 random(seed);
    const Layout layout = LayoutOf(c.order, c.pixels, c.channels);
    std::vector<float> src(layout.size);
    for (float& value : src) value = AnyValue(random);
    std::vector<float> thresholds(c.per_channel ? c.channels : 1);
    for (float& value : thresholds) {
      value = AnyValue(random);
      if (std::isnan(value)) value = -0.0f;
    }
    std::vector<uint8_t> invert(thresholds.size());
    for (uint8_t& value : invert) value = random() % 2;
    const int64_t dst_pixel = (c.channels + 7) / 8 + 2;
    std::vector<uint8_t> expected((c.pixels - 1) * dst_pixel + (c.channels + 7) / 8, 0xcd);
    for (int32_t p = 0; p < c.pixels; ++p) {
      for (int32_t k = 0; k < c.channels; ++k) {
        const float value = src[p * layout.pixel + k * layout.channel];
        const size_t row = c.per_channel ? k : 0;
        const bool at_least = !std::isnan(value) && value >= thresholds[row];
        const bool flip = c.invert == Invert::kSome && invert[row] != 0;
        uint8_t& byte = expected[p * dst_pixel + k / 8];
        if (k % 8 == 0) byte = 0;
        byte = static_cast<uint8_t>(byte | (at_least == flip) << k % 8);
      }
    }
    static const std::vector<PackKernel> kernels = PackKernelsUnderTest();
    for (const PackKernel& kernel : kernels) {
      for (const Flush flush : {Flush::kFront, Flush::kBack}) {
        SignPackArgs args = {};
        args.src = Region(0)->PlaceCopy(src, flush);
        args.src_pixel = layout.pixel;
        args.src_channel = layout.channel;
        args.pixels = c.pixels;
        args.channels = c.channels;
        args.per_channel = c.per_channel;
        args.thresholds = Region(1)->PlaceCopy(thresholds, flush);
        if (c.invert == Invert::kSome) args.invert = Region(2)->PlaceCopy(invert, flush);
        args.dst = Region(3)->Place<uint8_t>(expected.size(), flush);
        args.dst_pixel = dst_pixel;
        kernel.sign(args);
        ASSERT_EQ(std::vector<uint8_t>(args.dst, args.dst + expected.size()), expected)
            << kernel.name << ": pixels " << c.pixels << ", channels " << c.channels
            << ", per channel " << c.per_channel << ", seed " << seed;
      }
    }
  }
};

TEST_P(SignPackTest, IsExactForAllChannelCounts) {
  for (int32_t channels = 1; channels <= 130; ++channels) {
    for (const int32_t pixels : {1, 2, 7, 31, 32, 33, 67}) {
      for (const bool per_channel : {false, true}) {
        for (const Invert invert : {Invert::kNone, Invert::kSome}) {
          ExpectAllKernelsRight({pixels, channels, GetParam(), per_channel, invert},
                                channels * 100 + pixels);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// The two meanings of sign(0): x >= 0 is +1 as it stands; x > 0 is +1 by the smallest positive
// threshold, and so is -(x <= 0) by inversion of a threshold on -x.
TEST_P(SignPackTest, BothZerosFollowTheThreshold) {
  const float smallest = std::numeric_limits<float>::denorm_min();
  static const std::vector<PackKernel> kernels = PackKernelsUnderTest();
  for (const PackKernel& kernel : kernels) {
    for (const float zero : {0.0f, -0.0f}) {
      for (const float threshold : {0.0f, -0.0f, smallest}) {
        const std::vector<float> src(40, zero);
        const Layout layout = LayoutOf(GetParam(), 1, 8);
        std::vector<uint8_t> dst(1);
        SignPackArgs args = {};
        args.src = src.data();
        args.src_pixel = layout.pixel;
        args.src_channel = layout.channel;
        args.pixels = 1;
        args.channels = 8;
        args.thresholds = &threshold;
        args.dst = dst.data();
        args.dst_pixel = 1;
        kernel.sign(args);
        EXPECT_EQ(dst[0], threshold == smallest ? 0xff : 0x00) << kernel.name;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Orders, SignPackTest,
                         ::testing::Values(Order::kChannelsInner, Order::kPixelsInner,
                                           Order::kNeither));

// ---- numbers of 8 and 16 bits ----

constexpr PackSource kSources[] = {PackSource::kHalf, PackSource::kBFloat16, PackSource::kInt8,
                                   PackSource::kUInt8};

int64_t BytesOf(PackSource source) {
  return source == PackSource::kHalf || source == PackSource::kBFloat16 ? 2 : 1;
}

// The number that `bits` (its low byte, of integers) stands for.
float ValueOf(PackSource source, uint16_t bits) {
  switch (source) {
    case PackSource::kHalf:
      return HalfToFloat(bits);
    case PackSource::kBFloat16:
      return BFloat16ToFloat(bits);
    case PackSource::kInt8:
      return static_cast<float>(static_cast<int8_t>(bits));
    case PackSource::kUInt8:
      return static_cast<float>(static_cast<uint8_t>(bits));
  }
  return 0.0f;
}

// Thresholds between, on and beyond the numbers of a source.
float AnyThreshold(PackSource source, std::mt19937& random) {
  if (random() % 4 == 0) return AnyValue(random);
  const float value = ValueOf(source, static_cast<uint16_t>(random()));
  if (random() % 3 == 0) return std::nextafter(value, kInfinity);
  return random() % 2 == 0 ? std::nextafter(value, -kInfinity) : value;
}

class SignPackNarrowTest : public ::testing::TestWithParam<Order> {
 protected:
  // A number next to the threshold, or any.
  static uint16_t NumberNear(PackSource source, float threshold, std::mt19937& random) {
    if (random() % 2 == 0 || std::isnan(threshold)) return static_cast<uint16_t>(random());
    const SignKey key = SignKeyOf(source, threshold);
    const auto near = static_cast<int16_t>(key.key + static_cast<int>(random() % 3) - 1);
    if (BytesOf(source) == 1) return static_cast<uint16_t>(near);
    return static_cast<uint16_t>(near < 0 ? near ^ 0x7fff : near);
  }

  void ExpectAllKernelsRight(const SignCase& c, PackSource source, uint32_t seed) {
    std::mt19937 random(seed);
    const Layout layout = LayoutOf(c.order, c.pixels, c.channels);
    std::vector<float> thresholds(c.per_channel ? c.channels : 1);
    for (float& value : thresholds) value = AnyThreshold(source, random);
    std::vector<int16_t> keys;
    std::vector<uint8_t> wanted(thresholds.size()), invert;
    for (size_t i = 0; i < thresholds.size(); ++i) {
      wanted[i] = c.invert == Invert::kSome ? random() % 2 : 0;
      const SignKey key = SignKeyOf(source, thresholds[i]);
      keys.push_back(key.key);
      invert.push_back(static_cast<uint8_t>(wanted[i] ^ (key.never ? 1 : 0)));
    }
    const int64_t bytes = BytesOf(source);
    std::vector<uint8_t> src(layout.size * bytes);
    for (uint8_t& byte : src) byte = static_cast<uint8_t>(random());
    const int64_t dst_pixel = (c.channels + 7) / 8 + 2;
    std::vector<uint8_t> expected((c.pixels - 1) * dst_pixel + (c.channels + 7) / 8, 0xcd);
    for (int32_t p = 0; p < c.pixels; ++p) {
      for (int32_t k = 0; k < c.channels; ++k) {
        const size_t row = c.per_channel ? k : 0;
        const uint16_t number = NumberNear(source, thresholds[row], random);
        std::memcpy(&src[(p * layout.pixel + k * layout.channel) * bytes], &number, bytes);
        const bool at_least = ValueOf(source, number) >= thresholds[row];
        uint8_t& byte = expected[p * dst_pixel + k / 8];
        if (k % 8 == 0) byte = 0;
        byte = static_cast<uint8_t>(byte | (at_least == (wanted[row] != 0)) << k % 8);
      }
    }
    static const std::vector<PackKernel> kernels = PackKernelsUnderTest();
    for (const PackKernel& kernel : kernels) {
      for (const Flush flush : {Flush::kFront, Flush::kBack}) {
        SignPackNarrowArgs args = {};
        args.source = source;
        args.src = Region(0)->PlaceCopy(src, flush);
        args.src_pixel = layout.pixel;
        args.src_channel = layout.channel;
        args.pixels = c.pixels;
        args.channels = c.channels;
        args.per_channel = c.per_channel;
        args.keys = Region(1)->PlaceCopy(keys, flush);
        args.invert = Region(2)->PlaceCopy(invert, flush);
        args.dst = Region(3)->Place<uint8_t>(expected.size(), flush);
        args.dst_pixel = dst_pixel;
        kernel.sign_narrow(args);
        ASSERT_EQ(std::vector<uint8_t>(args.dst, args.dst + expected.size()), expected)
            << kernel.name << ": source " << static_cast<int>(source) << ", pixels " << c.pixels
            << ", channels " << c.channels << ", per channel " << c.per_channel << ", seed "
            << seed;
      }
    }
  }
};

TEST_P(SignPackNarrowTest, IsExactForAllChannelCounts) {
  for (const PackSource source : kSources) {
    for (int32_t channels = 1; channels <= 130; ++channels) {
      for (const int32_t pixels : {1, 7, 33, 67}) {
        const uint32_t seed = channels * 100 + pixels;
        ExpectAllKernelsRight({pixels, channels, GetParam(), seed % 3 != 0,
                               seed % 2 != 0 ? Invert::kSome : Invert::kNone},
                              source, seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(SignPackNarrowTest, IsExactForLongLines) {
  for (const PackSource source : kSources) {
    for (const int32_t pixels : {64, 65, 128, 196}) {
      for (const int32_t channels : {3, 64, 72}) {
        ExpectAllKernelsRight({pixels, channels, GetParam(), true, Invert::kSome}, source, pixels);
        if (HasFatalFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Orders, SignPackNarrowTest,
                         ::testing::Values(Order::kChannelsInner, Order::kPixelsInner,
                                           Order::kNeither));

// Each of the 65,536 (or 256) numbers against each kind of threshold.
TEST(SignKeyTest, OrdersNumbersAsFloats) {
  std::mt19937 random(5);
  for (const PackSource source : kSources) {
    const int32_t count = BytesOf(source) == 2 ? 65536 : 256;
    for (int round = 0; round < 40; ++round) {
      const float threshold = AnyThreshold(source, random);
      const SignKey key = SignKeyOf(source, threshold);
      for (int32_t i = 0; i < count; ++i) {
        const float value = ValueOf(source, static_cast<uint16_t>(i));
        auto rising = static_cast<int16_t>(i);
        if (BytesOf(source) == 2 && rising < 0) rising = static_cast<int16_t>(rising ^ 0x7fff);
        if (source == PackSource::kInt8) rising = static_cast<int8_t>(i);
        const bool reached = !std::isnan(value) && rising >= key.key;
        ASSERT_EQ(reached != key.never, value >= threshold)
            << "source " << static_cast<int>(source) << ", " << value << " against " << threshold;
      }
    }
  }
}

TEST(SignKeyTest, OfIntegersLiesInTheirRange) {
  for (const float threshold :
       {-kInfinity, -1000.0f, -128.5f, 0.0f, 127.5f, 255.5f, kInfinity, kNan}) {
    EXPECT_GE(SignKeyOf(PackSource::kInt8, threshold).key, -128);
    EXPECT_LE(SignKeyOf(PackSource::kInt8, threshold).key, 127);
    EXPECT_GE(SignKeyOf(PackSource::kUInt8, threshold).key, 0);
    EXPECT_LE(SignKeyOf(PackSource::kUInt8, threshold).key, 255);
  }
}

class QuantPackTest : public ::testing::TestWithParam<Order> {};

TEST_P(QuantPackTest, IsExactForAllChannelCounts) {
  static const std::vector<PackKernel> kernels = PackKernelsUnderTest();
  std::mt19937 random(7);
  for (int32_t channels = 1; channels <= 130; ++channels) {
    for (const int32_t pixels : {1, 2, 7, 8, 9, 33}) {
      for (const int32_t levels : {2, 4, 16, 255, 256}) {
        const float scale = random() % 3 == 0
                                ? std::ldexp(1.0f, 3 - static_cast<int>(random() % 12))
                                : static_cast<float>(1 + random() % 100) / 97.0f;
        const int32_t shift =
            random() % 2 == 0 ? 0 : static_cast<int32_t>(random() % static_cast<uint32_t>(levels));
        const float offset = static_cast<float>(random() % 256) - static_cast<float>(shift);
        const Layout layout = LayoutOf(GetParam(), pixels, channels);
        std::vector<float> src(layout.size);
        for (float& value : src) {
          // Codes, halves between codes, values beyond the range, and what is not a number.
          const float code = static_cast<float>(random() % 600) / 2.0f - 20.0f;
          value = random() % 8 == 0 ? AnyValue(random) : (code - offset) * scale;
        }
        const int64_t dst_pixel = channels + 3;
        std::vector<uint8_t> expected((pixels - 1) * dst_pixel + channels, 0xcd);
        for (int32_t p = 0; p < pixels; ++p) {
          for (int32_t c = 0; c < channels; ++c) {
            const float quotient = src[p * layout.pixel + c * layout.channel] / scale;
            const float value = quotient + offset;
            const float low = static_cast<float>(-shift);
            const float top = static_cast<float>(levels - 1 - shift);
            const float code = std::isnan(value) ? low : std::fmin(std::fmax(value, low), top);
            expected[p * dst_pixel + c] =
                static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(code)) + shift);
          }
        }
        for (const PackKernel& kernel : kernels) {
          for (const Flush flush : {Flush::kFront, Flush::kBack}) {
            QuantPackArgs args = {};
            args.src = Region(0)->PlaceCopy(src, flush);
            args.src_pixel = layout.pixel;
            args.src_channel = layout.channel;
            args.pixels = pixels;
            args.channels = channels;
            args.scale = scale;
            args.offset = offset;
            args.levels = levels;
            args.shift = shift;
            args.dst = Region(3)->Place<uint8_t>(expected.size(), flush);
            args.dst_pixel = dst_pixel;
            kernel.quant(args);
            ASSERT_EQ(std::vector<uint8_t>(args.dst, args.dst + expected.size()), expected)
                << kernel.name << ": pixels " << pixels << ", channels " << channels << ", levels "
                << levels;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Orders, QuantPackTest,
                         ::testing::Values(Order::kChannelsInner, Order::kPixelsInner,
                                           Order::kNeither));

TEST(PackTableTest, SelectsTheBestAllowed) {
  EXPECT_STREQ(SelectPack(Isa::kRef).name, "pack_ref");
  int count = 0;
  const PackKernel* kernels = PackKernels(&count);
  for (int i = 0; i < count; ++i) {
    EXPECT_STREQ(SelectPack(kernels[i].isa).name, kernels[i].name);
  }
}

}  // namespace
}  // namespace bitmill::test
