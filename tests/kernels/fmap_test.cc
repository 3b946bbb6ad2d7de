// Element-wise operations and pooling of float maps: every kernel against the formulas.
#include "kernels/fmap/fmap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/fmap/fmap_table.h"

namespace bitmill {
namespace {

constexpr FmapOp kOps[] = {FmapOp::kAdd,        FmapOp::kSub,        FmapOp::kMul,  FmapOp::kDiv,
                           FmapOp::kReverseSub, FmapOp::kReverseDiv, FmapOp::kClip, FmapOp::kRelu,
                           FmapOp::kLeakyRelu,  FmapOp::kHardTanh,   FmapOp::kAbs,  FmapOp::kNeg,
                           FmapOp::kSqrt,       FmapOp::kFloor,      FmapOp::kCeil, FmapOp::kRound};

std::vector<FmapKernel> RunnableKernels() {
  int count = 0;
  const FmapKernel* const kernels = FmapKernels(&count);
  std::vector<FmapKernel> runnable;
  for (int i = 0; i < count; ++i) {
    if (IsaAllows(BestIsa(), kernels[i].isa)) runnable.push_back(kernels[i]);
  }
  return runnable;
}

float Define(FmapOp op, float x, float a, float b) {
  switch (op) {
    case FmapOp::kAdd:
      return x + a;
    case FmapOp::kSub:
      return x - a;
    case FmapOp::kMul:
      return x * a;
    case FmapOp::kDiv:
      return x / a;
    case FmapOp::kReverseSub:
      return a - x;
    case FmapOp::kReverseDiv:
      return a / x;
    case FmapOp::kClip:
      if (x < a) x = a;
      return b < x ? b : x;
    case FmapOp::kRelu:
      return x < 0.0F ? 0.0F : x;
    case FmapOp::kLeakyRelu:
      return x < 0.0F ? a * x : x;
    case FmapOp::kHardTanh:
      if (x < -1.0F) x = -1.0F;
      return 1.0F < x ? 1.0F : x;
    case FmapOp::kAbs:
      return std::fabs(x);
    case FmapOp::kNeg:
      return -x;
    case FmapOp::kSqrt:
      return std::sqrt(x);
    case FmapOp::kFloor:
      return std::floor(x);
    case FmapOp::kCeil:
      return std::ceil(x);
    case FmapOp::kRound:
      return std::nearbyint(x);
  }
  return x;
}

bool SameBits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof a) == 0;
}

std::vector<float> Values(std::mt19937& random, int64_t count) {
  std::normal_distribution<float> normal(0.0F, 2.0F);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kSpecial[] = {0.0F,
                                -0.0F,
                                0.5F,
                                -0.5F,
                                1.5F,
                                -2.5F,
                                1.0F,
                                -1.0F,
                                kInfinity,
                                -kInfinity,
                                std::numeric_limits<float>::quiet_NaN()};
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    value = random() % 8 == 0 ? kSpecial[random() % std::size(kSpecial)] : normal(random);
  }
  return values;
}

TEST(FmapTest, EachElementIsWhatTheFormulaGives) {
  std::mt19937 random(1);
  for (const FmapKernel& kernel : RunnableKernels()) {
    for (const FmapOp op : kOps) {
      for (const int64_t count : {0, 1, 7, 8, 33, 500}) {
        for (const int each : {0, 1, 2, 3}) {
          const std::vector<float> x = Values(random, count);
          const std::vector<float> a = Values(random, count + 1), b = Values(random, count + 1);
          std::vector<float> out(x.size() + 1, 77.0F);
          FmapArgs args{op,       (each & 1) != 0, (each & 2) != 0, x.data(),
                        a.data(), b.data(),        out.data(),      count};
          kernel.run(args);
          std::vector<float> in_place = x;
          args.src = args.dst = in_place.data();
          kernel.run(args);
          for (size_t i = 0; i < x.size(); ++i) {
            const float wanted = Define(op, x[i], a[args.each_a ? i : 0], b[args.each_b ? i : 0]);
            ASSERT_TRUE(SameBits(out[i], wanted) && SameBits(in_place[i], wanted))
                << kernel.name << " op " << static_cast<int>(op) << " of " << x[i] << ": " << out[i]
                << ", in place " << in_place[i] << ", wanted " << wanted;
          }
          ASSERT_EQ(out.back(), 77.0F);
        }
      }
    }
  }
}

TEST(FmapTest, PoolsTapsInTheirOrder) {
  std::mt19937 random(2);
  for (const FmapKernel& kernel : RunnableKernels()) {
    for (int round = 0; round < 200; ++round) {
      FmapPoolArgs args{};
      args.maximum = round % 2 == 0;
      args.channels = 1 + static_cast<int64_t>(random() % 80);
      args.pixels = static_cast<int64_t>(random() % 6);
      args.src_pixel = args.channels + static_cast<int64_t>(random() % 5);
      args.dst_pixel = args.channels + static_cast<int64_t>(random() % 3);
      args.divisor = 1.0F + static_cast<float>(random() % 9);
      std::vector<int64_t> taps(random() % 10);
      for (int64_t& tap : taps) tap = static_cast<int64_t>(random() % 300);
      const std::vector<float> src = Values(random, 300 + 6 * args.src_pixel + args.channels);
      std::vector<float> dst(static_cast<size_t>(6 * args.dst_pixel + args.channels), 77.0F);
      args.src = src.data();
      args.dst = dst.data();
      args.taps = taps.data();
      args.tap_count = static_cast<int64_t>(taps.size());
      kernel.pool(args);
      std::vector<float> wanted(dst.size(), 77.0F);
      for (int64_t p = 0; p < args.pixels; ++p) {
        for (int64_t c = 0; c < args.channels; ++c) {
          float best = args.maximum ? -std::numeric_limits<float>::infinity() : 0.0F;
          for (const int64_t tap : taps) {
            const float value = src[static_cast<size_t>(p * args.src_pixel + tap + c)];
            best = args.maximum ? (value > best ? value : best) : best + value;
          }
          if (!args.maximum && !taps.empty()) best /= args.divisor;
          wanted[static_cast<size_t>(p * args.dst_pixel + c)] = best;
        }
      }
      for (size_t i = 0; i < dst.size(); ++i) {
        ASSERT_TRUE(SameBits(dst[i], wanted[i])) << kernel.name << " round " << round << " element "
                                                 << i << ": " << dst[i] << " for " << wanted[i];
      }
    }
  }
}

}  // namespace
}  // namespace bitmill
