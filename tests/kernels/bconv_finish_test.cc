// Binary convolutions whose kernels go on with their float outputs, against the plain outputs and
// the same operations one by one, bit for bit.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/bconv/bconv_finish.h"
#include "kernels/bconv/bconv_table.h"
#include "tests/kernels/kernels_under_test.h"

namespace bitmill::test {
namespace {

constexpr float kUnwritten = 12345.0F;

int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
std::unique_ptr<void, Free> Aligned(int64_t bytes) {
  return std::unique_ptr<void, Free>(
      std::aligned_alloc(64, static_cast<size_t>(RoundUp(bytes + 1, 64))));
}

// A 3 x 3 convolution of stride 1 over random bits, and random operations behind it.
class FinishCase {
 public:
  FinishCase(int32_t height, int32_t width, int32_t channels, int32_t outputs, uint32_t seed)
      : height_(height), width_(width), outputs_(outputs), random_(seed) {
    const int32_t words = (channels + 63) / 64;
    input_.resize(static_cast<size_t>(int64_t{2} * (height + 2) * (width + 2) * words));
    const uint64_t used = channels % 64 == 0 ? ~uint64_t{0} : (uint64_t{1} << channels % 64) - 1;
    for (size_t i = 0; i < input_.size(); ++i) {
      input_[i] = uint64_t{random_()} << 32 | random_();
      if (static_cast<int32_t>(i) % words == words - 1) input_[i] &= used;
    }
    std::vector<int8_t> weights(static_cast<size_t>(int64_t{outputs} * channels * 9));
    for (int8_t& weight : weights) weight = random_() % 2 == 0 ? 1 : -1;
    packed_.resize(static_cast<size_t>(PackedBconvWords(outputs, channels, 9, 1)));
    PackBconvWeights(weights.data(), outputs, channels, 9, 1, nullptr, packed_.data());
    for (int32_t y = 0; y < 3; ++y) {
      for (int32_t x = 0; x < 3; ++x) taps_.push_back((y * (width + 2) + x) * words);
    }
    const auto padded = static_cast<size_t>(RoundUp(outputs, 16));
    for (int32_t y = 0; y < height; ++y) rows_.push_back(y == 0 ? 0 : 1);
    for (int32_t x = 0; x < width; ++x) columns_.push_back(x == 0 ? 0 : x == width - 1 ? 2 : 1);
    base_.resize(6 * padded);
    for (int32_t& value : base_) value = static_cast<int32_t>(random_() % 200) - 100;
    scale_ = Numbers(padded, 0.1F);
    bias_ = Numbers(padded, 3.0F);
    map_ = Numbers(static_cast<size_t>(2 * ImageElements()), 10.0F);
    thresholds_ = Numbers(padded, 5.0F);
    thresholds_[0] = std::numeric_limits<float>::quiet_NaN();
    inverted_.resize(padded / 16);
    for (size_t c = 0; c < static_cast<size_t>(outputs); ++c) {
      if (random_() % 3 == 0) inverted_[c / 16] |= static_cast<uint16_t>(1U << c % 16);
    }
    if (random_() % 2 == 0) inverted_.assign(inverted_.size(), 0);
    for (int i = 0; i < 2; ++i) operands_.push_back(Numbers(padded, 4.0F));
    divisors_ = Numbers(padded, 4.0F);
    for (float& divisor : divisors_) divisor += divisor < 0.0F ? -0.5F : 0.5F;
    DrawOps();
    args_.input = input_.data();
    args_.pixel_words = words;
    args_.row_words = (width + 2) * words;
    args_.image_words = (height + 2) * args_.row_words;
    args_.c_words = words;
    args_.batch = 2;
    args_.out_h = height;
    args_.out_w = width;
    args_.out_channels = outputs;
    args_.stride_h = args_.stride_w = 1;
    args_.tap_words = taps_.data();
    args_.taps = 9;
    args_.weights = packed_.data();
    args_.planes = 1;
    args_.row_class = rows_.data();
    args_.col_class = columns_.data();
    args_.col_classes = 3;
    args_.base = base_.data();
    args_.scale = scale_.data();
    args_.bias = bias_.data();
    args_.out_pixel = PixelElements();
    args_.out_row = width * PixelElements() + 1;
    args_.out_image = ImageElements();
  }

  struct Result {
    std::vector<float> floats;
    std::vector<uint8_t> signs;
    bool operator==(const Result& other) const {
      return signs == other.signs &&
             std::memcmp(floats.data(), other.floats.data(), floats.size() * sizeof(float)) == 0;
    }
  };

  // False where the kernel does not take it. The sum's map is the output itself or not.
  bool Run(const BconvKernel& kernel, bool in_place, Result* result) const {
    BconvArgs args = args_;
    const auto prepared = Aligned(PreparedBconvBytes(kernel, args));
    const auto scratch = Aligned(BconvScratchBytes(kernel, args));
    PrepareBconv(kernel, args, prepared.get());
    args.prepared = prepared.get();
    args.scratch = scratch.get();
    *result = Blank();
    if (in_place) result->floats = map_;
    std::vector<BconvFinishOp> ops = ops_;
    for (BconvFinishOp& op : ops) {
      if (op.map != nullptr && in_place) op.map = result->floats.data();
    }
    const BconvFinish finish = {ops.data(),           static_cast<int32_t>(ops.size()),
                                result->signs.data(), SignImageBytes(),
                                SignRowBytes(),       SignPixelBytes(),
                                thresholds_.data(),   inverted_.data()};
    args.out_float = result->floats.data();
    args.finish = &finish;
    if (!BconvFinishes(kernel, args)) return false;
    kernel.run(args);
    return true;
  }

  // Outputs as planes, numbers between lines, planes and images left alone. False where the kernel
  // does not take it.
  bool RunPlanes(const BconvKernel& kernel, std::vector<float>* planes) const {
    BconvArgs args = args_;
    const auto prepared = Aligned(PreparedBconvBytes(kernel, args));
    const auto scratch = Aligned(BconvScratchBytes(kernel, args));
    PrepareBconv(kernel, args, prepared.get());
    args.prepared = prepared.get();
    args.scratch = scratch.get();
    planes->assign(static_cast<size_t>(2 * PlanesImage()), kUnwritten);
    args.out_float = planes->data();
    args.out_pixel = 1;
    args.out_row = width_ + 1;
    args.out_channel = PlaneElements();
    args.out_image = PlanesImage();
    if (!BconvStoresPlanes(kernel, args)) return false;
    kernel.run(args);
    return true;
  }

  std::vector<float> ExpectedPlanes() const {
    std::vector<float> plain = Blank().floats;
    std::vector<float> planes(static_cast<size_t>(2 * PlanesImage()), kUnwritten);
    BconvArgs args = args_;
    args.out_float = plain.data();
    SelectBconv(Isa::kRef).run(args);
    for (int64_t image = 0; image < 2; ++image) {
      for (int64_t y = 0; y < height_; ++y) {
        for (int64_t x = 0; x < width_; ++x) {
          const int64_t from = image * args_.out_image + y * args_.out_row + x * args_.out_pixel;
          const int64_t to = image * PlanesImage() + y * (width_ + 1) + x;
          for (int64_t o = 0; o < outputs_; ++o) {
            planes[static_cast<size_t>(to + o * PlaneElements())] =
                plain[static_cast<size_t>(from + o)];
          }
        }
      }
    }
    return planes;
  }

  // From the plain outputs of the reference.
  Result Expected(bool in_place) const {
    Result result = Blank();
    std::vector<float> plain = result.floats;
    BconvArgs args = args_;
    args.out_float = plain.data();
    SelectBconv(Isa::kRef).run(args);
    if (in_place) result.floats = map_;
    for (int64_t image = 0; image < 2; ++image) {
      for (int64_t y = 0; y < height_; ++y) {
        for (int64_t x = 0; x < width_; ++x) {
          const int64_t at = image * args_.out_image + y * args_.out_row + x * args_.out_pixel;
          uint8_t* const signs = result.signs.data() + image * SignImageBytes() +
                                 y * SignRowBytes() + x * SignPixelBytes();
          for (int64_t o = 0; o < outputs_; ++o) {
            if (o % 8 == 0) signs[o / 8] = 0;
            const float value = Finished(plain[static_cast<size_t>(at + o)], at + o, o);
            result.floats[static_cast<size_t>(at + o)] = value;
            const bool inverted = (inverted_[static_cast<size_t>(o / 16)] >> o % 16 & 1) != 0;
            if (!(value >= thresholds_[static_cast<size_t>(o)]) != inverted) {
              signs[o / 8] = static_cast<uint8_t>(signs[o / 8] | 1U << o % 8);
            }
          }
        }
      }
    }
    return result;
  }

 private:
  std::vector<float> Numbers(size_t count, float size) {
    std::uniform_real_distribution<float> uniform(-size, size);
    std::vector<float> numbers(count);
    for (float& number : numbers) number = random_() % 16 == 0 ? -0.0F : uniform(random_);
    return numbers;
  }

  // The sum with a map somewhere among up to four others.
  void DrawOps() {
    constexpr FmapOp kOps[] = {FmapOp::kAdd,  FmapOp::kSub,  FmapOp::kMul,       FmapOp::kDiv,
                               FmapOp::kClip, FmapOp::kRelu, FmapOp::kLeakyRelu, FmapOp::kHardTanh};
    for (uint32_t count = random_() % 5; count > 0; --count) {
      const FmapOp op = kOps[random_() % std::size(kOps)];
      const std::vector<float>& first = op == FmapOp::kDiv ? divisors_ : operands_[0];
      ops_.push_back({op, first.data(), operands_[1].data(), nullptr});
    }
    const auto at = static_cast<std::ptrdiff_t>(random_() % (ops_.size() + 1));
    ops_.insert(ops_.begin() + at, {FmapOp::kAdd, nullptr, nullptr, map_.data()});
  }

  float Finished(float x, int64_t at, int64_t channel) const {
    for (const BconvFinishOp& op : ops_) {
      const float a = operands_[0][static_cast<size_t>(channel)];
      const float b = operands_[1][static_cast<size_t>(channel)];
      const auto clip = [](float value, float low, float high) {
        const float above = value < low ? low : value;
        return high < above ? high : above;
      };
      if (op.map != nullptr) {
        x = x + map_[static_cast<size_t>(at)];
      } else if (op.op == FmapOp::kAdd) {
        x = x + a;
      } else if (op.op == FmapOp::kSub) {
        x = x - a;
      } else if (op.op == FmapOp::kMul) {
        x = x * a;
      } else if (op.op == FmapOp::kDiv) {
        x = x / divisors_[static_cast<size_t>(channel)];
      } else if (op.op == FmapOp::kClip) {
        x = clip(x, a, b);
      } else if (op.op == FmapOp::kRelu) {
        x = x < 0.0F ? 0.0F : x;
      } else if (op.op == FmapOp::kLeakyRelu) {
        x = x < 0.0F ? a * x : x;
      } else {
        x = clip(x, -1.0F, 1.0F);
      }
    }
    return x;
  }

  // A float and a byte behind every pixel stay as they are.
  int64_t PixelElements() const { return outputs_ + 1; }
  int64_t ImageElements() const { return height_ * (width_ * PixelElements() + 1) + 2; }
  int64_t PlaneElements() const { return height_ * (width_ + 1) + 3; }
  int64_t PlanesImage() const { return outputs_ * PlaneElements() + 5; }
  int64_t SignPixelBytes() const { return (outputs_ + 7) / 8 + 1; }
  int64_t SignRowBytes() const { return width_ * SignPixelBytes() + 3; }
  int64_t SignImageBytes() const { return height_ * SignRowBytes(); }
  Result Blank() const {
    return {std::vector<float>(static_cast<size_t>(2 * ImageElements()), kUnwritten),
            std::vector<uint8_t>(static_cast<size_t>(2 * SignImageBytes()), 0xcd)};
  }

  int64_t height_, width_, outputs_;
  std::mt19937 random_;
  std::vector<uint64_t> input_, packed_;
  std::vector<int32_t> taps_, rows_, columns_, base_;
  std::vector<float> scale_, bias_, map_, thresholds_;
  std::vector<std::vector<float>> operands_;
  std::vector<float> divisors_;
  std::vector<uint16_t> inverted_;
  std::vector<BconvFinishOp> ops_;
  BconvArgs args_ = {};
};

struct Shape {
  int32_t height, width, channels, outputs;
};
constexpr Shape kShapes[] = {{9, 16, 64, 64}, {8, 10, 70, 130}, {7, 7, 33, 136},  {5, 33, 64, 16},
                             {12, 7, 64, 20}, {70, 2, 64, 33},  {1, 90, 128, 40}, {3, 5, 64, 64},
                             {9, 15, 200, 1}, {11, 14, 1, 72},  {6, 23, 50, 27},  {4, 8, 64, 72},
                             {2, 57, 9, 8}};

TEST(BconvFinishTest, PlanesAreThePlainOutputsTransposed) {
  int taken = 0, could = 0;
  uint32_t seed = 0;
  for (const Shape& shape : kShapes) {
    const FinishCase problem(shape.height, shape.width, shape.channels, shape.outputs, ++seed);
    const std::vector<float> expected = problem.ExpectedPlanes();
    for (const BconvKernel& kernel : BconvKernelsUnderTest()) {
      if (kernel.stores_planes == nullptr) continue;
      ++could;
      std::vector<float> got;
      if (!problem.RunPlanes(kernel, &got)) continue;
      ++taken;
      ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)), 0)
          << kernel.name << ": " << shape.height << "x" << shape.width << "x" << shape.channels
          << " -> " << shape.outputs;
    }
  }
  EXPECT_GE(2 * taken, could);
}

TEST(BconvFinishTest, EveryKernelDoesWhatTheStepsDo) {
  int taken = 0;
  uint32_t seed = 0;
  for (const Shape& shape : kShapes) {
    for (int round = 0; round < 6; ++round) {
      const FinishCase problem(shape.height, shape.width, shape.channels, shape.outputs, ++seed);
      for (const BconvKernel& kernel : BconvKernelsUnderTest()) {
        for (const bool in_place : {false, true}) {
          FinishCase::Result got;
          if (!problem.Run(kernel, in_place, &got)) continue;
          ++taken;
          ASSERT_EQ(got == problem.Expected(in_place), true)
              << kernel.name << ": " << shape.height << "x" << shape.width << "x" << shape.channels
              << " -> " << shape.outputs << ", seed " << seed << ", in place " << in_place;
        }
      }
    }
  }
  EXPECT_GE(taken, 2 * 60);  // the reference takes all
}

}  // namespace
}  // namespace bitmill::test
