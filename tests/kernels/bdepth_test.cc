// Depthwise convolutions of bits: every kernel against the definition on numbers.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "tests/kernels/guarded.h"
#include "tests/kernels/kernels_under_test.h"

namespace bitmill::test {
namespace {

enum class Output { kBits, kInt32, kFloat };

struct BdepthShape {
  int32_t batch = 1, in_h = 1, in_w = 1, channels = 1;
  int32_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int32_t pad = 0;        // pixels on each side
  int32_t pad_value = 0;  // 0, +1 or -1
  int32_t planes = 1;
  bool extreme = false;  // every product is -1: the largest counts
  int32_t out_gap = 0;   // elements behind each line of the output
  Output output = Output::kBits;

  int32_t out_h() const {
    return (in_h + 2 * pad - dilation_h * (kernel_h - 1) - 1) / stride_h + 1;
  }
  int32_t out_w() const {
    return (in_w + 2 * pad - dilation_w * (kernel_w - 1) - 1) / stride_w + 1;
  }
  int32_t taps() const { return kernel_h * kernel_w; }
  int32_t c_words() const { return (channels + 63) / 64; }
};

std::ostream& operator<<(std::ostream& out, const BdepthShape& s) {
  return out << s.batch << " x " << s.in_h << "x" << s.in_w << "x" << s.channels << ", kernel "
             << s.kernel_h << "x" << s.kernel_w << ", stride " << s.stride_h << "x" << s.stride_w
             << ", dilation " << s.dilation_h << "x" << s.dilation_w << ", pad " << s.pad << " of "
             << s.pad_value << ", planes " << s.planes << ", output " << static_cast<int>(s.output);
}

GuardedRegion* Region(int index) {
  static GuardedRegion regions[6];
  return &regions[index];
}

class BdepthCase {
 public:
  BdepthCase(const BdepthShape& shape, uint32_t seed) : s_(shape) {
    std::mt19937 random(seed);
    const auto channels = static_cast<size_t>(s_.channels);
    activations_.resize(static_cast<size_t>(s_.batch * s_.in_h * s_.in_w) * channels);
    for (int8_t& a : activations_) a = s_.extreme || random() % 2 == 0 ? 1 : -1;
    weights_.resize(channels * static_cast<size_t>(s_.taps()));
    for (int8_t& w : weights_) w = s_.extreme || random() % 2 == 0 ? -1 : 1;
    if (s_.planes == 2 && !s_.extreme) {
      for (int8_t& w : weights_) w = random() % 3 == 0 ? 0 : w;
    }
    for (size_t c = 0; c < channels; ++c) {
      negate_.push_back(random() % 4 == 0 ? 1 : 0);
      thresholds_.push_back(static_cast<int32_t>(random() % (2 * s_.taps() + 5)) - s_.taps() - 2);
      scale_.push_back(static_cast<float>(random() % 1000) * 0.013F - 5.0F);
      bias_.push_back(static_cast<float>(random() % 1000) * 0.017F - 7.0F);
    }
    PackInput();
    ClassifyLines();
    MakeTables();
  }

  // The bytes of the output, gaps included (0xcd where nothing was written).
  std::vector<uint8_t> Run(const BdepthKernel& kernel, Flush flush) const {
    BdepthArgs args = {};
    args.input = Region(0)->PlaceCopy(input_, flush);
    args.row_words = int64_t{padded_w_} * s_.c_words();
    args.image_words = args.row_words * padded_h_;
    args.channels = s_.channels;
    args.c_words = s_.c_words();
    args.batch = s_.batch;
    args.out_h = s_.out_h();
    args.out_w = s_.out_w();
    args.stride_h = s_.stride_h;
    args.stride_w = s_.stride_w;
    args.tap_words = tap_words_.data();
    args.taps = s_.taps();
    args.weights = Region(1)->PlaceCopy(packed_, flush);
    args.planes = s_.planes;
    if (Zeros()) {
      args.row_class = row_class_.data();
      args.col_class = col_class_.data();
      args.col_classes = col_classes_;
    }
    args.out_row = LineElements() + s_.out_gap;
    args.out_image = args.out_row * s_.out_h() + s_.out_gap;
    const auto elements = static_cast<size_t>(args.out_image * s_.batch);
    if (s_.output == Output::kBits) {
      args.limits = Region(2)->PlaceCopy(limits_, flush);
      args.out_bits = Region(3)->Place<uint64_t>(elements, flush);
    } else {
      args.base = Region(2)->PlaceCopy(base_, flush);
      args.scale = Region(4)->PlaceCopy(scale_, flush);
      args.bias = Region(5)->PlaceCopy(bias_, flush);
    }
    if (s_.output == Output::kInt32) args.out_int32 = Region(3)->Place<int32_t>(elements, flush);
    if (s_.output == Output::kFloat) args.out_float = Region(3)->Place<float>(elements, flush);
    kernel.run(args);
    const auto* const bytes =
        args.out_bits != nullptr    ? reinterpret_cast<const uint8_t*>(args.out_bits)
        : args.out_int32 != nullptr ? reinterpret_cast<const uint8_t*>(args.out_int32)
                                    : reinterpret_cast<const uint8_t*>(args.out_float);
    return {bytes, bytes + elements * ElementBytes()};
  }

  // The same from the definition, without bits, words or kernels.
  std::vector<uint8_t> Expected() const {
    const int64_t row = LineElements() + s_.out_gap, image = row * s_.out_h() + s_.out_gap;
    std::vector<uint8_t> out(static_cast<size_t>(image * s_.batch) * ElementBytes(), 0xcd);
    for (int32_t n = 0; n < s_.batch; ++n) {
      for (int32_t y = 0; y < s_.out_h(); ++y) {
        for (int32_t x = 0; x < s_.out_w(); ++x) {
          for (int32_t c = 0; c < s_.channels; ++c) {
            Put(n * image + y * row, x, c, Accumulator(n, y, x, c), out);
          }
        }
      }
    }
    return out;
  }

 private:
  bool Zeros() const { return s_.pad > 0 && s_.pad_value == 0; }
  size_t ElementBytes() const { return s_.output == Output::kBits ? 8 : 4; }
  int64_t LineElements() const {
    return int64_t{s_.out_w()} * (s_.output == Output::kBits ? s_.c_words() : s_.channels);
  }
  // Of the weights as kernels get them.
  int32_t Weight(int32_t c, int32_t tap) const {
    return weights_[static_cast<size_t>(c * s_.taps() + tap)] * (negate_[c] != 0 ? -1 : 1);
  }
  bool Outside(int32_t out, int32_t tap, bool rows) const {
    const int32_t at = rows ? out * s_.stride_h + tap * s_.dilation_h - s_.pad
                            : out * s_.stride_w + tap * s_.dilation_w - s_.pad;
    return at < 0 || at >= (rows ? s_.in_h : s_.in_w);
  }

  int32_t Accumulator(int32_t n, int32_t y, int32_t x, int32_t c) const {
    int32_t sum = 0;
    for (int32_t ky = 0; ky < s_.kernel_h; ++ky) {
      for (int32_t kx = 0; kx < s_.kernel_w; ++kx) {
        int32_t a = s_.pad_value;
        if (!Outside(y, ky, true) && !Outside(x, kx, false)) {
          const int32_t iy = y * s_.stride_h + ky * s_.dilation_h - s_.pad;
          const int32_t ix = x * s_.stride_w + kx * s_.dilation_w - s_.pad;
          a = activations_[static_cast<size_t>(((n * s_.in_h + iy) * s_.in_w + ix) * s_.channels +
                                               c)];
        }
        sum += a * Weight(c, ky * s_.kernel_w + kx);
      }
    }
    return sum;
  }

  void Put(int64_t line, int32_t x, int32_t c, int32_t acc, std::vector<uint8_t>& out) const {
    if (s_.output == Output::kBits) {
      uint64_t word = 0;
      uint8_t* const at = out.data() + (line + x * s_.c_words() + c / 64) * 8;
      if (c % 64 != 0) std::memcpy(&word, at, sizeof word);
      if (acc < thresholds_[c]) word |= uint64_t{1} << (c % 64);
      std::memcpy(at, &word, sizeof word);
      return;
    }
    uint8_t* const at = out.data() + (line + x * s_.channels + c) * 4;
    const float scaled = static_cast<float>(acc) * scale_[c];
    const float value = scaled + bias_[c];
    std::memcpy(at, s_.output == Output::kInt32 ? static_cast<const void*>(&acc) : &value, 4);
  }

  void PackInput() {
    padded_h_ = s_.in_h + 2 * s_.pad;
    padded_w_ = s_.in_w + 2 * s_.pad;
    input_.assign(static_cast<size_t>(s_.batch * padded_h_ * padded_w_ * s_.c_words()), 0);
    for (int32_t n = 0; n < s_.batch; ++n) {
      for (int32_t y = 0; y < padded_h_; ++y) {
        for (int32_t x = 0; x < padded_w_; ++x) {
          for (int32_t c = 0; c < s_.channels; ++c) PackActivation(n, y, x, c);
        }
      }
    }
    for (int32_t y = 0; y < s_.kernel_h; ++y) {
      for (int32_t x = 0; x < s_.kernel_w; ++x) {
        tap_words_.push_back((y * s_.dilation_h * padded_w_ + x * s_.dilation_w) * s_.c_words());
      }
    }
  }
  void PackActivation(int32_t n, int32_t y, int32_t x, int32_t c) {
    const int32_t iy = y - s_.pad, ix = x - s_.pad;
    int32_t a = s_.pad_value;
    if (iy >= 0 && iy < s_.in_h && ix >= 0 && ix < s_.in_w) {
      a = activations_[static_cast<size_t>(((n * s_.in_h + iy) * s_.in_w + ix) * s_.channels + c)];
    }
    const int32_t at = ((n * padded_h_ + y) * padded_w_ + x) * s_.c_words() + c / 64;
    if (a < 0) input_[static_cast<size_t>(at)] |= uint64_t{1} << (c % 64);
  }

  // Lines and columns with the same taps outside.
  void ClassifyLines() {
    const auto classify = [&](int32_t outs, int32_t taps, bool rows, std::vector<int32_t>& out) {
      std::map<std::vector<bool>, int32_t> known;
      for (int32_t o = 0; o < outs; ++o) {
        std::vector<bool> outside;
        for (int32_t t = 0; t < taps; ++t) outside.push_back(Outside(o, t, rows));
        out.push_back(known.emplace(outside, static_cast<int32_t>(known.size())).first->second);
      }
      return static_cast<int32_t>(known.size());
    };
    row_classes_ = classify(s_.out_h(), s_.kernel_h, true, row_class_);
    col_classes_ = classify(s_.out_w(), s_.kernel_w, false, col_class_);
  }

  int32_t BaseAt(int32_t y, int32_t x, int32_t c) const {
    int32_t base = 0;
    for (int32_t ky = 0; ky < s_.kernel_h; ++ky) {
      for (int32_t kx = 0; kx < s_.kernel_w; ++kx) {
        const int32_t w = Weight(c, ky * s_.kernel_w + kx);
        const bool outside = Zeros() && (Outside(y, ky, true) || Outside(x, kx, false));
        base += outside ? 2 * (w < 0) : (w != 0);
      }
    }
    return base;
  }

  void MakeTables() {
    const int64_t line = s_.c_words() + kBdepthRepeatWords;
    packed_.resize(static_cast<size_t>(s_.taps() * s_.planes * line));
    PackBdepthWeights(weights_.data(), s_.channels, s_.taps(), s_.planes, negate_.data(),
                      packed_.data());
    const int64_t padded = (s_.channels + 7) / 8 * 8;
    const int32_t count_planes = BdepthCountPlanes(s_.taps());
    const int64_t plane_words = int64_t{s_.out_w()} * s_.c_words();
    const int32_t rows = Zeros() ? row_classes_ : 1;
    base_.assign(static_cast<size_t>(rows * (Zeros() ? col_classes_ : 1) * padded), 0);
    limits_.assign(static_cast<size_t>(rows * count_planes * plane_words), 0);
    std::vector<bool> known(static_cast<size_t>(rows));
    for (int32_t y = 0; y < s_.out_h(); ++y) {
      const int32_t row = Zeros() ? row_class_[y] : 0;
      if (known[static_cast<size_t>(row)]) continue;
      known[static_cast<size_t>(row)] = true;
      for (int32_t x = 0; x < s_.out_w(); ++x) {
        const int32_t klass = Zeros() ? row * col_classes_ + col_class_[x] : 0;
        for (int32_t c = 0; c < s_.channels; ++c) {
          const int32_t base = BaseAt(y, x, c);
          base_[static_cast<size_t>(klass * padded + c)] = base;
          // base - 2 * count < threshold
          const int32_t limit = (base - thresholds_[c] + 1000) / 2 - 500;
          const int64_t at = row * count_planes * plane_words + x * s_.c_words() + c / 64;
          SetBdepthLimit(limit, s_.taps(), plane_words, c, limits_.data() + at);
        }
      }
    }
  }

  BdepthShape s_;
  std::vector<int8_t> activations_;  // [n][y][x][c]
  std::vector<int8_t> weights_;      // [c][taps]
  std::vector<uint8_t> negate_;
  std::vector<int32_t> thresholds_, tap_words_, row_class_, col_class_, base_;
  std::vector<float> scale_, bias_;
  std::vector<uint64_t> input_, packed_, limits_;
  int32_t padded_h_ = 0, padded_w_ = 0, row_classes_ = 1, col_classes_ = 1;
};

void ExpectAllKernelsRight(const BdepthShape& shape, uint32_t seed) {
  static const std::vector<BdepthKernel> kernels = BdepthKernelsUnderTest();
  const BdepthCase problem(shape, seed);
  const std::vector<uint8_t> expected = problem.Expected();
  for (const BdepthKernel& kernel : kernels) {
    for (const Flush flush : {Flush::kFront, Flush::kBack}) {
      ASSERT_EQ(problem.Run(kernel, flush), expected)
          << kernel.name << ": " << shape << ", seed " << seed;
    }
  }
}

class BdepthTest : public ::testing::TestWithParam<Output> {};

TEST_P(BdepthTest, IsExactForAllChannelCounts) {
  for (int32_t channels = 1; channels <= 130; ++channels) {
    for (const int32_t planes : {1, 2}) {
      const BdepthShape shape{.batch = 2,
                              .in_h = 4,
                              .in_w = 5,
                              .channels = channels,
                              .kernel_h = 3,
                              .kernel_w = 3,
                              .stride_w = channels % 5 == 0 ? 2 : 1,
                              .pad = 1,
                              .pad_value = channels % 3 - 1,
                              .planes = planes,
                              .out_gap = channels % 2 * 3,
                              .output = GetParam()};
      ASSERT_NO_FATAL_FAILURE(ExpectAllKernelsRight(shape, channels));
    }
  }
}

// Runs of every length around the widths of vectors, with any phase of a pixel.
TEST_P(BdepthTest, IsExactForAllLinesAndWordsOfAPixel) {
  for (const int32_t words : {1, 2, 3, 4, 5, 7, 8, 9, 12, 17}) {
    for (int32_t in_w = 1; in_w <= 19; in_w += words > 4 ? 4 : 1) {
      BdepthShape shape{.in_h = 3,
                        .in_w = in_w,
                        .channels = words * 64 - in_w % 2 * 5,
                        .kernel_h = 3,
                        .kernel_w = 3,
                        .pad = 1,
                        .planes = 1 + in_w % 2,
                        .output = GetParam()};
      ASSERT_NO_FATAL_FAILURE(ExpectAllKernelsRight(shape, words * 100 + in_w));
      shape.stride_w = 2;
      ASSERT_NO_FATAL_FAILURE(ExpectAllKernelsRight(shape, words * 100 + in_w));
    }
  }
}

TEST_P(BdepthTest, IsExactForAllWindows) {
  std::mt19937 random(3);
  const auto one_to = [&](int32_t most) { return 1 + static_cast<int32_t>(random() % most); };
  for (int32_t kernel_h = 1; kernel_h <= 5; ++kernel_h) {
    for (int32_t kernel_w = 1; kernel_w <= 5; ++kernel_w) {
      for (int32_t round = 0; round < 12; ++round) {
        BdepthShape shape{.batch = one_to(2), .channels = one_to(200)};
        shape.kernel_h = kernel_h;
        shape.kernel_w = kernel_w;
        shape.stride_h = one_to(2);
        shape.stride_w = one_to(3);
        shape.dilation_h = one_to(2);
        shape.dilation_w = one_to(2);
        shape.pad = static_cast<int32_t>(random() % 3);
        shape.pad_value = round % 3 - 1;
        shape.planes = one_to(2);
        shape.in_h = shape.dilation_h * (kernel_h - 1) + one_to(5);
        shape.in_w = shape.dilation_w * (kernel_w - 1) + one_to(12);
        shape.out_gap = one_to(4) - 1;
        shape.output = GetParam();
        ASSERT_NO_FATAL_FAILURE(ExpectAllKernelsRight(shape, random()));
      }
    }
  }
}

// Every number of taps up to the most, all of them counted.
TEST_P(BdepthTest, CountsEveryTap) {
  for (int32_t taps = 1; taps <= kBdepthMaxTaps; ++taps) {
    for (const bool extreme : {false, true}) {
      const BdepthShape shape{.in_h = 1,
                              .in_w = taps + 9,
                              .channels = 70,
                              .kernel_w = taps,
                              .planes = 1 + taps % 2,
                              .extreme = extreme,
                              .output = GetParam()};
      ASSERT_NO_FATAL_FAILURE(ExpectAllKernelsRight(shape, taps));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, BdepthTest,
                         testing::Values(Output::kBits, Output::kInt32, Output::kFloat),
                         [](const testing::TestParamInfo<Output>& output) {
                           return output.param == Output::kBits    ? "Bits"
                                  : output.param == Output::kInt32 ? "Int32"
                                                                   : "Float";
                         });

}  // namespace
}  // namespace bitmill::test
