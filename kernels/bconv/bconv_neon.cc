// Exclusive or, bits of each byte, bytes summed: a lane of 64 bits is an output channel, so only
// the bytes of a lane are summed, every 31 words (31 * 8 < 256).
//
// Tile: 4 pixels x 8 output channels, 16 sums in registers. A step of one word loads 4 vectors of
// weights and 4 broadcasts; eor, cnt and add 16 times each for 2,048 products: 24 cycles on two
// vector pipes, 85 MAC a cycle. Ternary: one more operation, and.
#include <arm_neon.h>
#include <stdint.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvNeon(const BconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int kVectors = 4;  // of two lanes
constexpr int64_t kTilePixels = 4;
constexpr int64_t kListPixels = 128;
constexpr int32_t kWordsPerFlush = 31;

inline uint64x2_t SumBytes(uint64x2_t total, uint8x16_t bytes) {
  return vpadalq_u32(total, vpaddlq_u16(vpaddlq_u8(bytes)));
}

// Differences of one block for kPixels windows.
template <int kPlanes, int kPixels>
void CountTile(const BconvArgs& args, const BconvPixel* pixels, const uint64_t* weights,
               uint64x2_t (*totals)[kVectors]) {
  uint8x16_t bytes[kPixels][kVectors];
  for (int p = 0; p < kPixels; ++p) {
    for (int v = 0; v < kVectors; ++v) {
      bytes[p][v] = vdupq_n_u8(0);
      totals[p][v] = vdupq_n_u64(0);
    }
  }
  int32_t until_flush = kWordsPerFlush;
  for (int32_t t = 0; t < args.taps; ++t) {
    const int64_t first = args.tap_words[t];
    for (int64_t word = first; word < first + args.c_words; ++word) {
      uint64x2_t w[kVectors], s[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        w[v] = vld1q_u64(weights + v * 2);
        s[v] = kPlanes == 2 ? vld1q_u64(weights + kLanes + v * 2) : w[v];
      }
      for (int p = 0; p < kPixels; ++p) {
        const uint64x2_t a = vld1q_dup_u64(pixels[p].window + word);
        for (int v = 0; v < kVectors; ++v) {
          uint64x2_t differ = veorq_u64(a, s[v]);
          if (kPlanes == 2) differ = vandq_u64(differ, w[v]);
          bytes[p][v] = vaddq_u8(bytes[p][v], vcntq_u8(vreinterpretq_u8_u64(differ)));
        }
      }
      weights += kPlanes * kLanes;
      if (--until_flush > 0) continue;
      until_flush = kWordsPerFlush;
      for (int p = 0; p < kPixels; ++p) {
        for (int v = 0; v < kVectors; ++v) {
          totals[p][v] = SumBytes(totals[p][v], bytes[p][v]);
          bytes[p][v] = vdupq_n_u8(0);
        }
      }
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    for (int v = 0; v < kVectors; ++v) totals[p][v] = SumBytes(totals[p][v], bytes[p][v]);
  }
}

inline int32x4_t Narrow(uint64x2_t low, uint64x2_t high) {
  return vreinterpretq_s32_u32(vcombine_u32(vmovn_u64(low), vmovn_u64(high)));
}

// Bit i of the result: lane i of the two masks.
inline uint32_t MaskBits(uint32x4_t low, uint32x4_t high) {
  static const uint16_t kBits[kLanes] = {1, 2, 4, 8, 16, 32, 64, 128};
  const uint16x8_t mask = vcombine_u16(vmovn_u32(low), vmovn_u32(high));
  return vaddvq_u16(vandq_u16(mask, vld1q_u16(kBits)));
}

// Four channels of one pixel; `lanes` of them exist.
inline void StoreNumbers(const BconvArgs& args, const BconvPixel& pixel, int64_t channel,
                         int64_t lanes, int32x4_t x) {
  const int32x4_t base = vld1q_s32(args.base + pixel.table_row + channel);
  const int32x4_t acc = vsubq_s32(base, vaddq_s32(x, x));
  if (args.out_int32 != nullptr) {
    int32_t* out = args.out_int32 + pixel.out + channel;
    if (lanes >= 4) {
      vst1q_s32(out, acc);
      return;
    }
    int32_t values[4];
    vst1q_s32(values, acc);
    for (int64_t i = 0; i < lanes; ++i) out[i] = values[i];
    return;
  }
  const float32x4_t scaled = vmulq_f32(vcvtq_f32_s32(acc), vld1q_f32(args.scale + channel));
  const float32x4_t value = vaddq_f32(scaled, vld1q_f32(args.bias + channel));
  float* out = args.out_float + pixel.out + channel;
  if (lanes >= 4) {
    vst1q_f32(out, value);
    return;
  }
  float values[4];
  vst1q_f32(values, value);
  for (int64_t i = 0; i < lanes; ++i) out[i] = values[i];
}

void StoreBlock(const BconvArgs& args, const BconvPixel& pixel, int64_t channel,
                const uint64x2_t* totals) {
  const int64_t lanes = args.out_channels - channel;
  const int32x4_t low = Narrow(totals[0], totals[1]);
  const int32x4_t high = Narrow(totals[2], totals[3]);
  if (args.out_bits == nullptr) {
    StoreNumbers(args, pixel, channel, lanes, low);
    if (lanes > 4) StoreNumbers(args, pixel, channel + 4, lanes - 4, high);
    return;
  }
  const int32_t* limits = args.limits + pixel.table_row + channel;
  const uint32_t bits =
      MaskBits(vcgtq_s32(low, vld1q_s32(limits)), vcgtq_s32(high, vld1q_s32(limits + 4)));
  const uint32_t keep = lanes >= kLanes ? 0xff : (uint32_t{1} << lanes) - 1;
  args.out_bits[pixel.out + channel / 8] = static_cast<uint8_t>(bits & keep);
}

template <int kPlanes>
void RunPixels(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count) {
  const int64_t block_words = int64_t{args.taps} * args.c_words * kPlanes * kLanes;
  for (int64_t channel = 0; channel < args.out_channels; channel += kLanes) {
    const uint64_t* weights = args.weights + channel / kLanes * block_words;
    uint64x2_t totals[kTilePixels][kVectors];
    int64_t p = 0;
    for (; p + kTilePixels <= pixel_count; p += kTilePixels) {
      CountTile<kPlanes, kTilePixels>(args, pixels + p, weights, totals);
      for (int64_t i = 0; i < kTilePixels; ++i) {
        StoreBlock(args, pixels[p + i], channel, totals[i]);
      }
    }
    for (; p < pixel_count; ++p) {
      CountTile<kPlanes, 1>(args, pixels + p, weights, totals);
      StoreBlock(args, pixels[p], channel, totals[0]);
    }
  }
}

}  // namespace

void BconvNeon(const BconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  BconvPixel list[kListPixels];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListBconvPixels(args, first, count, list);
    if (args.planes == 2) {
      RunPixels<2>(args, list, count);
    } else {
      RunPixels<1>(args, list, count);
    }
  }
}

}  // namespace bitmill
