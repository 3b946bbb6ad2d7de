// Every low-bit convolution kernel against the definition, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "kernels/qconv/qconv_2of4.h"
#include "kernels/qconv/qconv_lookup.h"
#include "kernels/qconv/sparse_qconv.h"
#include "tests/kernels/guarded.h"
#include "tests/kernels/kernels_under_test.h"
#include "tests/support/effort.h"

namespace bitmill::test {
namespace {

// Whether every product is as large as it can be, and with which sign.
enum class Extreme { kNone, kLow, kHigh };

struct QconvShape {
  int32_t batch = 1, in_h = 1, in_w = 1, channels = 1, out_channels = 1;
  int32_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int32_t pad = 0;  // pixels on each side, of the zero point
  int32_t zero_point = 0;
  int32_t extra_bytes = 0;  // of other groups beside the used ones of a pixel, a multiple of 4
  QconvWeights kind = QconvWeights::k2Bit;
  int32_t levels = 256;
  Extreme extreme = Extreme::kNone;
  bool ternary = false;  // 2-bit weights without -2
  bool as_float = false;
  // So many of the runs of empty_run channels x empty_channels outputs of a tap are zero.
  int32_t empty_percent = 0, empty_run = 16, empty_channels = 16;
  bool two_of_four = false;  // at most, of neighbouring channels, are not zero

  int32_t out_h() const {
    return (in_h + 2 * pad - dilation_h * (kernel_h - 1) - 1) / stride_h + 1;
  }
  int32_t out_w() const {
    return (in_w + 2 * pad - dilation_w * (kernel_w - 1) - 1) / stride_w + 1;
  }
  int32_t taps() const { return kernel_h * kernel_w; }
  int32_t used_bytes() const { return (channels + 3) / 4 * 4; }
};

std::string ToString(const QconvShape& s) {
  std::string text;
  for (const int32_t value : {s.batch,
                              s.in_h,
                              s.in_w,
                              s.channels,
                              s.out_channels,
                              s.kernel_h,
                              s.kernel_w,
                              s.stride_h,
                              s.stride_w,
                              s.dilation_h,
                              s.dilation_w,
                              s.pad,
                              s.zero_point,
                              s.extra_bytes,
                              static_cast<int32_t>(s.kind),
                              s.levels,
                              static_cast<int32_t>(s.extreme),
                              int32_t{s.ternary},
                              int32_t{s.as_float},
                              s.empty_percent,
                              s.empty_run,
                              s.empty_channels,
                              int32_t{s.two_of_four}}) {
    text.append(1, ' ').append(std::to_string(value));
  }
  return "batch h w c o kh kw sh sw dh dw pad zero extra kind levels extreme ternary float empty "
         "2:4:" +
         text;
}

struct WeightRange {
  int32_t low, high;
};

WeightRange RangeOf(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return {-1, 1};
    case QconvWeights::k2Bit:
      return {-2, 1};
    case QconvWeights::k4Bit:
      return {-8, 7};
    case QconvWeights::k8Bit:
      break;
  }
  return {-128, 127};
}

GuardedRegion* Region(int index) {
  constexpr size_t kBytes = size_t{1} << 24;
  static GuardedRegion regions[11] = {
      GuardedRegion(kBytes), GuardedRegion(kBytes), GuardedRegion(kBytes), GuardedRegion(kBytes),
      GuardedRegion(kBytes), GuardedRegion(kBytes), GuardedRegion(kBytes), GuardedRegion(kBytes),
      GuardedRegion(kBytes), GuardedRegion(kBytes), GuardedRegion(kBytes)};
  return &regions[index];
}

// What a kernel gets beside the plain weights: nothing, its scratch, or prepared weights as well.
enum class Extras { kNone, kScratch, kAll };

class QconvCase {
 public:
  QconvCase(const QconvShape& shape, uint32_t seed) : shape_(shape) {
    std::mt19937 random(seed);
    const QconvShape& s = shape_;
    WeightRange range = RangeOf(s.kind);
    if (s.ternary) range.low = -1;
    padded_h_ = s.in_h + 2 * s.pad;
    padded_w_ = s.in_w + 2 * s.pad;
    pixel_bytes_ = s.used_bytes() + s.extra_bytes;
    padded_channels_ = (s.out_channels + 7) / 8 * 8;
    codes_.resize(size_t(s.batch) * s.in_h * s.in_w * s.channels);
    for (uint8_t& code : codes_) {
      code = static_cast<uint8_t>(s.extreme != Extreme::kNone ? s.levels - 1 : random() % s.levels);
    }
    weights_.resize(size_t(s.out_channels) * s.channels * s.taps());
    for (int8_t& w : weights_) {
      w = static_cast<int8_t>(range.low +
                              static_cast<int32_t>(random() % (range.high - range.low + 1)));
      if (s.kind == QconvWeights::k1Bit && w == 0) w = 1;
      if (s.extreme == Extreme::kLow) w = static_cast<int8_t>(range.low);
      if (s.extreme == Extreme::kHigh) w = static_cast<int8_t>(range.high);
    }
    PruneWeights(random);
    packed_.resize(PackedQconvBytes(s.kind, s.out_channels, s.channels, s.taps()));
    PackQconvWeights(weights_.data(), s.kind, s.out_channels, s.channels, s.taps(), packed_.data());

    input_.resize(size_t(s.batch) * padded_h_ * padded_w_ * pixel_bytes_);
    for (uint8_t& byte : input_) byte = static_cast<uint8_t>(random());
    for (int32_t n = 0; n < s.batch; ++n) {
      for (int32_t y = 0; y < padded_h_; ++y) {
        for (int32_t x = 0; x < padded_w_; ++x) {
          uint8_t* pixel = &input_[((size_t(n) * padded_h_ + y) * padded_w_ + x) * pixel_bytes_];
          std::fill_n(pixel, s.used_bytes(), uint8_t{0});
          for (int32_t c = 0; c < s.channels; ++c) {
            pixel[c] = static_cast<uint8_t>(Code(n, y - s.pad, x - s.pad, c));
          }
        }
      }
    }
    for (int32_t ky = 0; ky < s.kernel_h; ++ky) {
      for (int32_t kx = 0; kx < s.kernel_w; ++kx) {
        for (int32_t c = 0; c < s.used_bytes(); c += 4) {
          step_bytes_.push_back((ky * s.dilation_h * padded_w_ + kx * s.dilation_w) * pixel_bytes_ +
                                c);
        }
      }
    }
    base_.assign(padded_channels_, 777);
    for (int32_t o = 0; o < s.out_channels; ++o) {
      base_[o] = 0;
      for (int32_t k = 0; k < s.channels * s.taps(); ++k) {
        base_[o] -= s.zero_point * weights_[size_t(o) * s.channels * s.taps() + k];
      }
    }
    scale_.resize(padded_channels_);
    bias_.resize(padded_channels_);
    for (float& value : scale_) value = static_cast<float>(random() % 2000) / 7777.0f - 0.1f;
    for (float& value : bias_) value = static_cast<float>(random() % 2000) / 333.0f - 3.0f;
    out_pixel_ = s.out_channels + 3;
    out_row_ = out_pixel_ * s.out_w() + 5;
    out_image_ = out_row_ * s.out_h() + 7;
  }

  // With `group_channels` the weights are sparse.
  std::vector<int32_t> Run(const QconvKernel& kernel, Extras extras, Flush flush,
                           int32_t group_channels = 0) const {
    const QconvShape& s = shape_;
    QconvArgs args = {};
    const size_t input_bytes = input_.size() - (flush == Flush::kBack ? s.extra_bytes : 0);
    uint8_t* input = Region(0)->Place<uint8_t>(input_bytes, flush);
    std::copy_n(input_.begin(), input_bytes, input);
    args.input = input;
    args.row_bytes = int64_t{padded_w_} * pixel_bytes_;
    args.image_bytes = args.row_bytes * padded_h_;
    args.pixel_bytes = pixel_bytes_;
    args.batch = s.batch;
    args.out_h = s.out_h();
    args.out_w = s.out_w();
    args.out_channels = s.out_channels;
    args.stride_h = s.stride_h;
    args.stride_w = s.stride_w;
    args.step_bytes = Region(1)->PlaceCopy(step_bytes_, flush);
    args.steps = static_cast<int32_t>(step_bytes_.size());
    args.kind = s.kind;
    args.weights = Region(2)->PlaceCopy(packed_, flush);
    args.levels = s.levels;
    args.ternary = s.ternary;
    args.base = Region(3)->PlaceCopy(base_, flush);
    int32_t* output = Region(4)->Place<int32_t>(OutputSize(), flush);
    if (s.as_float) {
      args.out_float = reinterpret_cast<float*>(output);
      args.scale = Region(5)->PlaceCopy(scale_, flush);
      args.bias = Region(6)->PlaceCopy(bias_, flush);
    } else {
      args.out_int32 = output;
    }
    args.out_pixel = out_pixel_;
    args.out_row = out_row_;
    args.out_image = out_image_;
    SparseQconv sparse;
    if (group_channels > 0) {
      const QconvFilterView filter = {weights_.data(), s.kind, s.out_channels, s.channels,
                                      s.taps()};
      sparse = MakeSparseQconv(filter, QconvOccupancy(filter), group_channels);
      args = sparse.Applied(args);
      args.weights = Region(2)->PlaceCopy(
          std::vector<uint8_t>(args.weights, args.weights + sparse.weights.size()), flush);
      sparse.lists.first_unit = Region(7)->PlaceCopy(sparse.first_unit, flush);
      if (!sparse.units.empty()) sparse.lists.units = Region(8)->PlaceCopy(sparse.units, flush);
    }
    // On boundaries of 64 bytes at either end of a page.
    const auto scratch_bytes = static_cast<size_t>(QconvScratchBytes(kernel, args));
    if (extras != Extras::kNone && scratch_bytes > 0) {
      BITMILL_CHECK(scratch_bytes % 64 == 0);
      args.scratch = Region(9)->Place<uint8_t>(scratch_bytes, flush);
    }
    // Prepared weights lie on boundaries of 64 bytes, not in a guarded region.
    const AlignedBuffer prepared(extras == Extras::kAll ? PreparedQconvBytes(kernel, args) : 0);
    if (prepared.size() > 0) {
      PrepareQconv(kernel, args, const_cast<std::byte*>(prepared.data()));
      args.prepared = prepared.data();
    }
    kernel.run(args);
    return std::vector<int32_t>(output, output + OutputSize());
  }

  // From the definition: sum of w * (code - zero point).
  std::vector<int32_t> Expected() const {
    const QconvShape& s = shape_;
    int32_t untouched;
    std::memset(&untouched, 0xcd, sizeof(untouched));
    std::vector<int32_t> output(OutputSize(), untouched);
    for (int32_t n = 0; n < s.batch; ++n) {
      for (int32_t y = 0; y < s.out_h(); ++y) {
        for (int32_t x = 0; x < s.out_w(); ++x) {
          for (int32_t o = 0; o < s.out_channels; ++o) {
            const int32_t acc = Accumulator(n, y, x, o);
            int32_t& out = output[n * out_image_ + y * out_row_ + x * out_pixel_ + o];
            out = acc;
            if (s.as_float) {
              const float scaled = static_cast<float>(acc) * scale_[o];
              const float value = scaled + bias_[o];
              std::memcpy(&out, &value, sizeof(out));
            }
          }
        }
      }
    }
    return output;
  }

 private:
  void PruneWeights(std::mt19937& random) {
    const QconvShape& s = shape_;
    for (size_t c = 0; s.two_of_four && c < weights_.size() / s.taps(); c += 4) {
      // Four channels of an output begin at multiples of four: only such counts have the pattern.
      for (int32_t t = 0; t < s.taps(); ++t) {
        const uint32_t kept = random() % 4, other = random() % 4;
        for (uint32_t i = 0; i < 4; ++i) {
          if (i != kept && i != other) weights_[(c + i) * s.taps() + t] = 0;
        }
      }
    }
    if (s.empty_percent == 0) return;
    for (int32_t o = 0; o < s.out_channels; o += s.empty_channels) {
      for (int32_t t = 0; t < s.taps(); ++t) {
        for (int32_t c = 0; c < s.channels; c += s.empty_run) {
          if (static_cast<int32_t>(random() % 100) < s.empty_percent) ClearRun(o, t, c);
        }
      }
    }
  }

  void ClearRun(int32_t first_output, int32_t tap, int32_t first_channel) {
    const QconvShape& s = shape_;
    const int32_t outputs = std::min(first_output + s.empty_channels, s.out_channels);
    const int32_t channels = std::min(first_channel + s.empty_run, s.channels);
    for (int32_t o = first_output; o < outputs; ++o) {
      for (int32_t c = first_channel; c < channels; ++c) {
        weights_[(size_t(o) * s.channels + c) * s.taps() + tap] = 0;
      }
    }
  }

  int32_t Code(int32_t n, int32_t y, int32_t x, int32_t c) const {
    const QconvShape& s = shape_;
    if (y < 0 || y >= s.in_h || x < 0 || x >= s.in_w) return s.zero_point;
    return codes_[((size_t(n) * s.in_h + y) * s.in_w + x) * s.channels + c];
  }

  int32_t Accumulator(int32_t n, int32_t y, int32_t x, int32_t o) const {
    const QconvShape& s = shape_;
    int32_t sum = 0;
    for (int32_t t = 0; t < s.taps(); ++t) {
      const int32_t iy = y * s.stride_h + t / s.kernel_w * s.dilation_h - s.pad;
      const int32_t ix = x * s.stride_w + t % s.kernel_w * s.dilation_w - s.pad;
      for (int32_t c = 0; c < s.channels; ++c) {
        sum += weights_[(size_t(o) * s.channels + c) * s.taps() + t] *
               (Code(n, iy, ix, c) - s.zero_point);
      }
    }
    return sum;
  }

  size_t OutputSize() const {
    const QconvShape& s = shape_;
    return (s.batch - 1) * out_image_ + (s.out_h() - 1) * out_row_ + (s.out_w() - 1) * out_pixel_ +
           s.out_channels;
  }

  QconvShape shape_;
  std::vector<uint8_t> codes_, packed_, input_;
  std::vector<int8_t> weights_;
  std::vector<int32_t> step_bytes_, base_;
  std::vector<float> scale_, bias_;
  int32_t padded_h_ = 0, padded_w_ = 0, pixel_bytes_ = 0, padded_channels_ = 0;
  int64_t out_pixel_ = 0, out_row_ = 0, out_image_ = 0;
};

void ExpectAllKernelsRight(const QconvShape& shape, uint32_t seed) {
  static const std::vector<QconvKernel> kernels = QconvKernelsUnderTest();
  const QconvCase problem(shape, seed);
  const std::vector<int32_t> expected = problem.Expected();
  for (const QconvKernel& kernel : kernels) {
    for (const Extras extras : {Extras::kNone, Extras::kScratch, Extras::kAll}) {
      if (extras == Extras::kScratch && kernel.scratch_bytes == nullptr) continue;
      if (extras == Extras::kAll && kernel.prepare == nullptr) continue;
      for (const Flush flush : {Flush::kFront, Flush::kBack}) {
        ASSERT_EQ(problem.Run(kernel, extras, flush), expected)
            << kernel.name
            << (extras == Extras::kNone      ? ""
                : extras == Extras::kScratch ? " with scratch"
                                             : " with prepared weights")
            << ": " << ToString(shape) << ", seed " << seed;
      }
    }
  }
}

class QconvTest : public ::testing::TestWithParam<QconvWeights> {};

// Every count of either with every seventh of the other; pixel count, levels and output change.
TEST_P(QconvTest, IsExactForAllChannelCounts) {
  for (int32_t channels = 1; channels <= 130; channels += kSlowRun ? 3 : 1) {
    for (int32_t out_channels = 1 + channels % 7; out_channels <= 130; out_channels += 7) {
      const QconvShape shape{.in_w = 1 + out_channels % 9,
                             .channels = channels,
                             .out_channels = out_channels,
                             .kind = GetParam(),
                             .levels = channels % 2 == 0 ? 256 : 4,
                             .as_float = channels % 3 == 0};
      ExpectAllKernelsRight(shape, channels * 131 + out_channels);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(QconvTest, IsExactForStridesDilationsAndZeroPoints) {
  uint32_t seed = 1;
  for (int32_t stride = 1; stride <= 3; ++stride) {
    for (int32_t dilation = 1; dilation <= 3; ++dilation) {
      for (const int32_t zero_point : {0, 3, 128, 255}) {
        for (const int32_t extra : {0, 8}) {
          const QconvShape shape{.batch = 2,
                                 .in_h = 9,
                                 .in_w = 11,
                                 .channels = 21,
                                 .out_channels = 19,
                                 .kernel_h = 3,
                                 .kernel_w = 3,
                                 .stride_h = stride,
                                 .stride_w = 4 - stride,
                                 .dilation_h = dilation,
                                 .dilation_w = dilation == 3 ? 1 : dilation,
                                 .pad = dilation,
                                 .zero_point = zero_point,
                                 .extra_bytes = extra,
                                 .kind = GetParam(),
                                 .as_float = seed % 2 == 0};
          ExpectAllKernelsRight(shape, ++seed);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Narrow partial sums overflow only when nearly all products have the same sign and full size. The
// pixel counts are those that kernels treat apart.
TEST_P(QconvTest, IsExactForLongRowsOfLargestProducts) {
  for (const int32_t levels : {2, 3, 4, 16, 128, 129, 130, 255, 256}) {
    for (const int32_t channels : {4, 60, 64, 68, 508, 512, 516, 1029, 4096}) {
      for (const Extreme extreme : {Extreme::kNone, Extreme::kLow, Extreme::kHigh}) {
        for (const int32_t pixels : {1, 2 + channels % 3, 17}) {
          const QconvShape shape{.in_w = pixels,
                                 .channels = channels,
                                 .out_channels = 28,
                                 .kind = GetParam(),
                                 .levels = levels,
                                 .extreme = extreme};
          ExpectAllKernelsRight(shape, channels);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// So many that a few pixels are done in sections, with sums kept in the output in between.
TEST_P(QconvTest, IsExactForRowsLongerThanASection) {
  for (const int32_t pixels : {1, 3, 8, 11, 23, 24}) {
    for (const int32_t out_channels : {5, 16, 27, 150}) {
      if (kSlowRun && out_channels > 27) continue;
      for (const bool as_float : {false, true}) {
        const QconvShape shape{.in_w = pixels,
                               .channels = pixels == 1 ? 70003 : 12283,
                               .out_channels = out_channels,
                               .kind = GetParam(),
                               .as_float = as_float};
        ExpectAllKernelsRight(shape, pixels);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// Expanded weights of several chunks, lists of several hundred pixels, strips of 1 to 4 vectors.
TEST_P(QconvTest, IsExactForManyPixelsAndLongWindows) {
  struct Size {
    int32_t pixels, channels, out_channels;
  };
  const Size sizes[] = {{25, 1100, 20},  {31, 516, 49}, {57, 1028, 64},  {64, 513, 121},
                        {259, 520, 33},  {260, 64, 70}, {601, 72, 24},   {28, 512, 8},
                        {33, 2051, 130}, {530, 20, 61}, {1030, 128, 16}, {97, 1536, 96}};
  for (const Size& size : sizes) {
    const QconvShape shape{.in_w = size.pixels,
                           .channels = size.channels,
                           .out_channels = size.out_channels,
                           .zero_point = 2,
                           .kind = GetParam(),
                           .as_float = size.pixels % 2 == 0};
    ExpectAllKernelsRight(shape, size.pixels);
    if (HasFatalFailure()) return;
  }
}

// A window of scattered steps for each of a few pixels.
TEST_P(QconvTest, IsExactForWindowsOfFewPixels) {
  for (int32_t pixels = 1; pixels <= 25; ++pixels) {
    for (const int32_t channels : {1, 6, 16, 35}) {
      const QconvShape shape{.in_h = 3,
                             .in_w = 2 + 2 * pixels,
                             .channels = channels,
                             .out_channels = 24,
                             .kernel_h = 3,
                             .kernel_w = 3,
                             .stride_w = 2,
                             .zero_point = 7,
                             .extra_bytes = 4,
                             .kind = GetParam(),
                             .as_float = pixels % 2 == 0};
      ExpectAllKernelsRight(shape, pixels * 100 + channels);
      if (HasFatalFailure()) return;
    }
  }
}

// Pixels of whole 64 bytes, which can be read where they lie, at every end of a line.
TEST_P(QconvTest, IsExactForPixelsOfWholeLines) {
  uint32_t seed = 1;
  for (int32_t width = 1; width <= 40; width += 1 + width / 8) {
    for (const int32_t stride : {1, 2}) {
      for (const int32_t kernel : {1, 3}) {
        const QconvShape shape{.batch = 1 + width % 3,
                               .in_h = 1 + width % 11,
                               .in_w = width,
                               .channels = width % 2 == 0 ? 64 : 128,
                               .out_channels = 8 + width % 5 * 15,
                               .kernel_h = kernel,
                               .kernel_w = kernel,
                               .stride_h = stride,
                               .stride_w = stride,
                               .pad = kernel / 2,
                               .zero_point = 5,
                               .extra_bytes = width % 4 == 0 ? 64 : 0,
                               .kind = GetParam(),
                               .as_float = seed % 2 == 0};
        ExpectAllKernelsRight(shape, ++seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(QconvTest, IsExactForEveryNumberOfPixels) {
  for (int32_t width = 1; width <= 70; ++width) {
    const QconvShape shape{.batch = width % 3 + 1,
                           .in_h = 2,
                           .in_w = width,
                           .channels = 12,
                           .out_channels = 33,
                           .kernel_h = 2,
                           .kernel_w = 2,
                           .pad = 1,
                           .kind = GetParam()};
    ExpectAllKernelsRight(shape, width);
    if (HasFatalFailure()) return;
  }
}

TEST(QconvTernaryTest, IsExactForLongRowsOfLargestProducts) {
  for (const int32_t levels : {3, 128, 256}) {
    for (const int32_t channels : {252, 256, 260, 508, 512, 516, 2048}) {
      for (const Extreme extreme : {Extreme::kNone, Extreme::kLow, Extreme::kHigh}) {
        for (const int32_t pixels : {1, 4, 17}) {
          const QconvShape shape{.in_w = pixels,
                                 .channels = channels,
                                 .out_channels = 24,
                                 .levels = levels,
                                 .extreme = extreme,
                                 .ternary = true};
          ExpectAllKernelsRight(shape, channels);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Sparse weights, whatever the groups that share a list, against the definition.
void ExpectSparseRight(QconvShape shape, uint32_t seed) {
  static const std::vector<QconvKernel> kernels = QconvKernelsUnderTest();
  if (shape.kind == QconvWeights::k1Bit) {
    // Without a zero: only whole units of all channels can go.
    shape.channels = (shape.channels + 31) / 32 * 32;
    shape.empty_run = 32;
    shape.empty_channels = shape.out_channels;
  }
  const QconvCase problem(shape, seed);
  const std::vector<int32_t> expected = problem.Expected();
  for (const QconvKernel& kernel : kernels) {
    if (kernel.sparse.count == 0) continue;
    for (const int32_t group_channels : {16, 32, 48, 64, 128}) {
      const Flush flush = group_channels % 3 == 0 ? Flush::kFront : Flush::kBack;
      ASSERT_EQ(problem.Run(kernel, Extras::kScratch, flush, group_channels), expected)
          << kernel.name << ": " << ToString(shape) << ", seed " << seed << ", groups of "
          << group_channels;
    }
  }
}

class SparseQconvTest : public ::testing::TestWithParam<QconvWeights> {};

TEST_P(SparseQconvTest, IsExactForAllDensitiesAndPixelCounts) {
  uint32_t seed = 1;
  for (const int32_t empty_percent : {0, 30, 60, 95, 100}) {
    for (const int32_t empty_channels : {16, 80}) {
      for (const int32_t width : {3, 6, 9, 21}) {  // 1, 4, 7 and 19 pixels a line
        const QconvShape shape{.batch = 2,
                               .in_h = 4,
                               .in_w = width,
                               .channels = 37,
                               .out_channels = 75,
                               .kernel_h = 3,
                               .kernel_w = 3,
                               .zero_point = 5,
                               .kind = GetParam(),
                               .levels = seed % 2 == 0 ? 256 : 16,
                               .as_float = seed % 3 == 0,
                               .empty_percent = empty_percent,
                               .empty_channels = empty_channels};
        ExpectSparseRight(shape, ++seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(SparseQconvTest, IsExactForOddChannelCounts) {
  for (int32_t channels = 1; channels <= 200; channels += 13) {
    for (int32_t out_channels = 1 + channels % 7; out_channels <= 150; out_channels += 31) {
      const QconvShape shape{.in_w = 1 + out_channels % 30,
                             .channels = channels,
                             .out_channels = out_channels,
                             .extra_bytes = 4,
                             .kind = GetParam(),
                             .empty_percent = 60,
                             .empty_run = 32};
      ExpectSparseRight(shape, channels * 131 + out_channels);
      if (HasFatalFailure()) return;
    }
  }
}

// Lists that run over sections of a few pixels, and chunks of many.
TEST_P(SparseQconvTest, IsExactForLongRows) {
  for (const int32_t pixels : {1, 3, 8, 24, 30}) {
    for (const Extreme extreme : {Extreme::kLow, Extreme::kHigh}) {
      const QconvShape shape{.in_w = pixels,
                             .channels = pixels == 1 ? 70003 : 12283,
                             .out_channels = 27,
                             .kind = GetParam(),
                             .extreme = extreme,
                             .as_float = pixels % 2 == 0,
                             .empty_percent = 70,
                             .empty_run = 64};
      ExpectSparseRight(shape, pixels);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, SparseQconvTest,
                         ::testing::Values(QconvWeights::k1Bit, QconvWeights::k2Bit,
                                           QconvWeights::k4Bit, QconvWeights::k8Bit),
                         [](const auto& suite) {
                           return std::to_string(1 << static_cast<int>(suite.param)) + "Bit";
                         });

TEST(SparseQconvWeightsTest, ListsUnitsThatAnyWeightOfAGroupNeeds) {
  // 40 outputs of 32 channels: two units of 2-bit weights; output 3 uses the first, 39 the second.
  constexpr int32_t kOuts = 40, kChannels = 32;
  std::vector<int8_t> weights(kOuts * kChannels);
  weights[3 * kChannels + 15] = 1;
  weights[39 * kChannels + 16] = -1;
  const QconvFilterView filter = {weights.data(), QconvWeights::k2Bit, kOuts, kChannels, 1};
  const QconvOccupancy occupancy(filter);
  EXPECT_DOUBLE_EQ(occupancy.Density(8), 2.0 / 10);
  EXPECT_DOUBLE_EQ(occupancy.Density(16), 3.0 / 10);
  EXPECT_DOUBLE_EQ(occupancy.Density(64), 1.0);
  const SparseQconv sparse = MakeSparseQconv(filter, occupancy, 16);
  EXPECT_EQ(sparse.first_unit, (std::vector<int32_t>{0, 1, 1, 2}));
  EXPECT_EQ(sparse.units, (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(sparse.weights.size(), 3 * 32);
}

// Layers whose products are looked up: windows of several sections, sums of largest codes, pixels
// that fill no tile, channels that fill no vector.
TEST(QconvLookupTest, IsExactForFewLevels) {
  int32_t looked_up = 0, looked_up_by_nibbles = 0;
  for (const QconvWeights kind : {QconvWeights::k1Bit, QconvWeights::k2Bit}) {
    for (const bool ternary : {false, true}) {
      if (ternary && kind == QconvWeights::k1Bit) continue;
      for (const int32_t levels : {3, 4, 16}) {
        for (const int32_t channels : {1, 17, 172}) {
          for (const int32_t out_channels : {64, 121, levels > 4 ? 256 : 190}) {
            const Extreme extreme = static_cast<Extreme>((channels + out_channels / 64) % 3);
            const QconvShape shape{.batch = 1 + channels % 2,
                                   .in_h = 3 + channels % 3,
                                   .in_w = 9,
                                   .channels = channels,
                                   .out_channels = out_channels,
                                   .kernel_h = 3,
                                   .kernel_w = 3,
                                   .dilation_w = 1 + channels % 2,
                                   .pad = 2,
                                   .zero_point = 1,
                                   .extra_bytes = channels % 2 == 0 ? 4 : 0,
                                   .kind = kind,
                                   .levels = levels,
                                   .extreme = extreme,
                                   .ternary = ternary,
                                   .as_float = out_channels % 128 == 0};
            ExpectAllKernelsRight(shape, channels + out_channels);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
  QconvArgs args = {};
  args.batch = args.out_h = 5;
  args.out_w = 5;
  args.steps = 16;
  args.levels = 4;
  args.kind = QconvWeights::k2Bit;
  for (args.out_channels = 1; args.out_channels <= 256; ++args.out_channels) {
    looked_up += QconvLookupBytesAvx512Vpopcnt(args) > 0 ? 1 : 0;
    looked_up_by_nibbles += QconvLookupBytesAvx2(args) > 0 ? 1 : 0;
  }
  EXPECT_GT(looked_up, 20);
  EXPECT_GT(looked_up_by_nibbles, looked_up);
  args.levels = 5;
  args.out_channels = 256;
  EXPECT_EQ(QconvLookupBytesAvx512Vpopcnt(args), 0);
  EXPECT_EQ(QconvLookupBytesAvx2(args), 0);
}

class TwoOfFourTest : public ::testing::TestWithParam<QconvWeights> {};

// Odd numbers of steps, steps that lie apart, several chunks, strips of every size, lists of
// pixels.
TEST_P(TwoOfFourTest, IsExact) {
  uint32_t seed = 71;
  for (const int32_t channels : {4, 12, 16, 36, 128}) {
    for (const int32_t out_channels : {1, 16, 27, 33, 64, 80, 100, 130}) {
      for (const int32_t kernel : {1, 3}) {
        const int32_t width = out_channels == 64 ? 15 : 1 + static_cast<int32_t>(seed % 5);
        const QconvShape shape{.batch = 1 + static_cast<int32_t>(seed % 2),
                               .in_h = out_channels == 64 ? 15 : 4,
                               .in_w = width + kernel,
                               .channels = channels,
                               .out_channels = out_channels,
                               .kernel_h = kernel,
                               .kernel_w = kernel,
                               .stride_w = 1 + static_cast<int32_t>(seed % 2),
                               .pad = kernel / 2,
                               .zero_point = 7,
                               .extra_bytes = seed % 3 == 0 ? 4 : 0,
                               .kind = GetParam(),
                               .extreme = static_cast<Extreme>(seed % 3),
                               .as_float = seed % 4 < 2,
                               .two_of_four = true};
        ExpectAllKernelsRight(shape, ++seed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// 20 input channels and 9 output channels: what decides is one weight too many, wherever it is.
TEST_P(TwoOfFourTest, IsSeen) {
  constexpr int32_t kChannels = 20, kOuts = 9, kTaps = 3;
  std::vector<int8_t> weights(kChannels * kOuts * kTaps);
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] = i / kTaps % 4 < 2 ? static_cast<int8_t>(i % 2 == 0 ? 1 : -1) : int8_t{0};
  }
  QconvArgs args = {};
  args.kind = GetParam();
  args.out_channels = kOuts;
  args.steps = kTaps * kChannels / 4;
  args.levels = 256;
  const auto sees = [&] {
    std::vector<uint8_t> packed(
        static_cast<size_t>(PackedQconvBytes(GetParam(), kOuts, kChannels, kTaps)));
    PackQconvWeights(weights.data(), GetParam(), kOuts, kChannels, kTaps, packed.data());
    args.weights = packed.data();
    return QconvIs2of4(args);
  };
  EXPECT_TRUE(sees());
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] != 0) continue;
    weights[i] = 1;
    EXPECT_FALSE(sees()) << "weight " << i;
    weights[i] = 0;
  }
  EXPECT_EQ(Qconv2of4Bytes(args), 2 * 64 * ((args.steps + 1) / 2));
}

// 1-bit weights have no zero.
INSTANTIATE_TEST_SUITE_P(Weights, TwoOfFourTest,
                         ::testing::Values(QconvWeights::k2Bit, QconvWeights::k4Bit,
                                           QconvWeights::k8Bit),
                         [](const auto& suite) {
                           return std::to_string(1 << static_cast<int>(suite.param)) + "Bit";
                         });

INSTANTIATE_TEST_SUITE_P(Weights, QconvTest,
                         ::testing::Values(QconvWeights::k1Bit, QconvWeights::k2Bit,
                                           QconvWeights::k4Bit, QconvWeights::k8Bit),
                         [](const auto& suite) {
                           return std::to_string(1 << static_cast<int>(suite.param)) + "Bit";
                         });

TEST(QconvTableTest, SelectsTheBestAllowed) {
  EXPECT_STREQ(SelectQconv(Isa::kRef).name, "qconv_ref");
  int count = 0;
  const QconvKernel* kernels = QconvKernels(&count);
  for (int i = 0; i < count; ++i) {
    if (i > 0 && kernels[i].isa == kernels[i - 1].isa) continue;  // the better one comes first
    EXPECT_STREQ(SelectQconv(kernels[i].isa).name, kernels[i].name);
  }
}

}  // namespace
}  // namespace bitmill::test
