// Max pooling of bits and codes: every kernel against the definition on numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/kernels/guarded.h"
#include "tests/kernels/kernels_under_test.h"

namespace bitmill::test {
namespace {

struct PoolShape {
  int32_t batch = 1, in_h = 1, in_w = 1, pixel_bytes = 8;
  int32_t kernel = 2, stride_h = 2, stride_w = 2, dilation = 1, pad = 0;
  bool some_minimum = false;
  bool gaps = true;  // between pixels, lines and images

  int32_t Out(int32_t size, int32_t stride) const {
    return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
  }
};

GuardedRegion* Region(int index) {
  static GuardedRegion regions[3];
  return &regions[index];
}

enum class Kind { kBits, kCodes };

class PoolCase {
 public:
  PoolCase(const PoolShape& shape, Kind kind, uint32_t seed)
      : s_(shape),
        kind_(kind),
        out_h_(s_.Out(s_.in_h, s_.stride_h)),
        out_w_(s_.Out(s_.in_w, s_.stride_w)) {
    std::mt19937 random(seed);
    const int32_t gap = s_.gaps ? 8 : 0;
    in_pixel_ = s_.pixel_bytes + gap;
    in_row_ = int64_t{in_pixel_} * s_.in_w + 2 * gap;
    in_image_ = in_row_ * s_.in_h + gap;
    out_pixel_ = s_.pixel_bytes + 2 * gap;
    out_row_ = out_pixel_ * out_w_ + gap;
    out_image_ = out_row_ * out_h_ + 3 * gap;
    input_.resize((s_.batch - 1) * in_image_ + (s_.in_h - 1) * in_row_ + (s_.in_w - 1) * in_pixel_ +
                  s_.pixel_bytes);
    for (uint8_t& byte : input_) byte = static_cast<uint8_t>(random());
    minimum_.resize(s_.pixel_bytes);
    for (uint8_t& byte : minimum_) {
      byte = static_cast<uint8_t>(kind == Kind::kBits ? random() : random() % 2 * 0xff);
    }
  }

  std::vector<uint8_t> Run(PoolFn run, Flush flush) const {
    PoolArgs args = {};
    args.input = Region(0)->PlaceCopy(input_, flush);
    args.in_image = in_image_;
    args.in_row = in_row_;
    args.in_pixel = in_pixel_;
    args.batch = s_.batch;
    args.in_h = s_.in_h;
    args.in_w = s_.in_w;
    args.out_h = out_h_;
    args.out_w = out_w_;
    args.kernel_h = args.kernel_w = s_.kernel;
    args.stride_h = s_.stride_h;
    args.stride_w = s_.stride_w;
    args.dilation_h = args.dilation_w = s_.dilation;
    args.pad_top = args.pad_left = s_.pad;
    args.pixel_bytes = s_.pixel_bytes;
    if (s_.some_minimum) args.minimum = Region(1)->PlaceCopy(minimum_, flush);
    args.output = Region(2)->Place<uint8_t>(OutputBytes(), flush);
    args.out_image = out_image_;
    args.out_row = out_row_;
    args.out_pixel = out_pixel_;
    run(args);
    return std::vector<uint8_t>(args.output, args.output + OutputBytes());
  }

  std::vector<uint8_t> Expected() const {
    std::vector<uint8_t> out(OutputBytes(), 0xcd);
    for (int32_t n = 0; n < s_.batch; ++n) {
      for (int32_t y = 0; y < out_h_; ++y) {
        for (int32_t x = 0; x < out_w_; ++x) {
          for (int32_t b = 0; b < s_.pixel_bytes; ++b) {
            out[n * out_image_ + y * out_row_ + x * out_pixel_ + b] = ExpectedByte(n, y, x, b);
          }
        }
      }
    }
    return out;
  }

 private:
  // Largest (or smallest) of the numbers that `value` picks out of the window's bytes.
  template <typename ValueOf>
  int32_t Extreme(int32_t n, int32_t y, int32_t x, int32_t b, bool smallest,
                  ValueOf value_of) const {
    std::vector<int32_t> values;
    for (int32_t ky = 0; ky < s_.kernel; ++ky) {
      for (int32_t kx = 0; kx < s_.kernel; ++kx) {
        const int32_t iy = y * s_.stride_h + ky * s_.dilation - s_.pad;
        const int32_t ix = x * s_.stride_w + kx * s_.dilation - s_.pad;
        if (iy < 0 || iy >= s_.in_h || ix < 0 || ix >= s_.in_w) continue;
        values.push_back(value_of(input_[n * in_image_ + iy * in_row_ + ix * in_pixel_ + b]));
      }
    }
    return smallest ? *std::min_element(values.begin(), values.end())
                    : *std::max_element(values.begin(), values.end());
  }

  uint8_t ExpectedByte(int32_t n, int32_t y, int32_t x, int32_t b) const {
    const uint8_t minimum = s_.some_minimum ? minimum_[b] : 0;
    if (kind_ == Kind::kCodes) {
      return static_cast<uint8_t>(
          Extreme(n, y, x, b, minimum != 0, [](uint8_t byte) { return int32_t{byte}; }));
    }
    uint8_t byte = 0;
    for (int bit = 0; bit < 8; ++bit) {
      const int32_t sign = Extreme(n, y, x, b, (minimum >> bit & 1) != 0, [bit](uint8_t value) {
        return (value >> bit & 1) != 0 ? -1 : 1;
      });
      byte = static_cast<uint8_t>(byte | (sign < 0) << bit);
    }
    return byte;
  }

  size_t OutputBytes() const {
    return (s_.batch - 1) * out_image_ + (out_h_ - 1) * out_row_ + (out_w_ - 1) * out_pixel_ +
           s_.pixel_bytes;
  }

  PoolShape s_;
  Kind kind_;
  int32_t out_h_, out_w_;
  int32_t in_pixel_ = 0;
  int64_t in_row_ = 0, in_image_ = 0, out_pixel_ = 0, out_row_ = 0, out_image_ = 0;
  std::vector<uint8_t> input_, minimum_;
};

void ExpectAllKernelsRight(const PoolShape& shape, Kind kind, uint32_t seed) {
  static const std::vector<PoolKernel> kernels = PoolKernelsUnderTest();
  const PoolCase problem(shape, kind, seed);
  const std::vector<uint8_t> expected = problem.Expected();
  for (const PoolKernel& kernel : kernels) {
    for (const Flush flush : {Flush::kFront, Flush::kBack}) {
      ASSERT_EQ(problem.Run(kind == Kind::kBits ? kernel.bits : kernel.codes, flush), expected)
          << kernel.name << ": " << shape.in_h << "x" << shape.in_w << "x" << shape.pixel_bytes
          << ", kernel " << shape.kernel << ", stride " << shape.stride_h << "x" << shape.stride_w
          << ", dilation " << shape.dilation << ", pad " << shape.pad << ", gaps " << shape.gaps
          << ", seed " << seed;
    }
  }
}

class PoolTest : public ::testing::TestWithParam<Kind> {};

TEST_P(PoolTest, IsExactForAllWidthsOfAPixel) {
  const int32_t step = GetParam() == Kind::kBits ? 8 : 1;
  for (int32_t bytes = step; bytes <= 130; bytes += step) {
    for (const bool some_minimum : {false, true}) {
      const PoolShape shape{
          .batch = 2, .in_h = 5, .in_w = 7, .pixel_bytes = bytes, .some_minimum = some_minimum};
      ExpectAllKernelsRight(shape, GetParam(), bytes);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(PoolTest, IsExactForWindows) {
  uint32_t seed = 1;
  for (int32_t kernel = 1; kernel <= 3; ++kernel) {
    for (int32_t stride = 1; stride <= 3; ++stride) {
      for (int32_t dilation = 1; dilation <= 3; ++dilation) {
        for (int32_t pad = 0; pad < kernel; ++pad) {
          const PoolShape shape{.in_h = 11,
                                .in_w = 9,
                                .pixel_bytes = 24,
                                .kernel = kernel,
                                .stride_h = stride,
                                .stride_w = 4 - stride,
                                .dilation = dilation,
                                .pad = pad,
                                .some_minimum = seed % 2 == 0};
          ExpectAllKernelsRight(shape, GetParam(), ++seed);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Lines of pixels without gaps, of which vectors take several at once: every width of a line up to
// more than two vectors of outputs, with whole and clipped windows.
TEST_P(PoolTest, IsExactForLinesWithoutGaps) {
  uint32_t seed = 1;
  for (const int32_t bytes : {8, 16, 24, 32, 72}) {
    for (int32_t in_w = 3; in_w <= 37; ++in_w) {
      for (int32_t kernel = 1; kernel <= 3; ++kernel) {
        for (const int32_t stride_w : {1, 2}) {
          const PoolShape shape{.in_h = 4,
                                .in_w = in_w,
                                .pixel_bytes = bytes,
                                .kernel = kernel,
                                .stride_h = 2,
                                .stride_w = stride_w,
                                .pad = static_cast<int32_t>(seed % 3 == 0 ? kernel / 2 : 0),
                                .some_minimum = seed % 2 == 0,
                                .gaps = false};
          ExpectAllKernelsRight(shape, GetParam(), ++seed);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, PoolTest, ::testing::Values(Kind::kBits, Kind::kCodes),
                         [](const auto& suite) {
                           return suite.param == Kind::kBits ? "Bits" : "Codes";
                         });

TEST(PoolTableTest, SelectsTheBestAllowed) {
  EXPECT_STREQ(SelectPool(Isa::kRef).name, "pool_ref");
  int count = 0;
  const PoolKernel* kernels = PoolKernels(&count);
  for (int i = 0; i < count; ++i) {
    EXPECT_STREQ(SelectPool(kernels[i].isa).name, kernels[i].name);
  }
}

}  // namespace
}  // namespace bitmill::test
