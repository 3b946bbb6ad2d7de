// Four channels a vector, four pixels at a time so that a load of thresholds serves four
// comparisons. A comparison that holds is -1, so subtracting it counts.
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "kernels/requant/requant.h"

namespace bitmill {

void RequantNeon(const RequantArgs& args);

namespace {

constexpr int32_t kLanes = 4;
constexpr int32_t kPixels = 4;

// Four channels of up to kPixels pixels.
struct Tile {
  const int32_t* acc;
  int32_t pixels, channel, lanes;
};

inline void LoadTile(const RequantArgs& args, const Tile& tile, int32x4_t* acc) {
  for (int32_t p = 0; p < kPixels; ++p) {
    const int32_t* values = tile.acc + (p < tile.pixels ? p : 0) * args.acc_pixel + tile.channel;
    if (tile.lanes == kLanes) {
      acc[p] = vld1q_s32(values);
      continue;
    }
    int32_t padded[kLanes] = {};
    for (int32_t i = 0; i < tile.lanes; ++i) padded[i] = values[i];
    acc[p] = vld1q_s32(padded);
  }
}

inline void StoreTile(const RequantArgs& args, const Tile& tile, const int32x4_t* codes,
                      uint8_t* out) {
  const uint16x8_t low = vcombine_u16(vmovn_u32(vreinterpretq_u32_s32(codes[0])),
                                      vmovn_u32(vreinterpretq_u32_s32(codes[1])));
  const uint16x8_t high = vcombine_u16(vmovn_u32(vreinterpretq_u32_s32(codes[2])),
                                       vmovn_u32(vreinterpretq_u32_s32(codes[3])));
  uint8_t bytes[kPixels * kLanes];
  vst1q_u8(bytes, vcombine_u8(vmovn_u16(low), vmovn_u16(high)));
  for (int32_t p = 0; p < tile.pixels; ++p) {
    uint8_t* place = out + p * args.out_pixel + tile.channel;
    for (int32_t i = 0; i < tile.lanes; ++i) place[i] = bytes[p * kLanes + i];
  }
}

inline int64_t ThresholdRow(const RequantArgs& args) {
  return (int64_t{args.channels} + 7) / 8 * 8;
}

inline void CompareTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  int32x4_t acc[kPixels], codes[kPixels];
  LoadTile(args, tile, acc);
  for (int32_t p = 0; p < kPixels; ++p) codes[p] = vdupq_n_s32(0);
  const int32_t* thresholds = args.thresholds + tile.channel;
  const int64_t row = ThresholdRow(args);
  for (int32_t i = 0; i < args.levels - 1; ++i, thresholds += row) {
    const int32x4_t threshold = vld1q_s32(thresholds);
    for (int32_t p = 0; p < kPixels; ++p) {
      codes[p] = vsubq_s32(codes[p], vreinterpretq_s32_u32(vcgeq_s32(acc[p], threshold)));
    }
  }
  StoreTile(args, tile, codes, out);
}

// fmaxnm gives the number, zero, for not a number; fcvtns rounds half to even.
inline void AffineTile(const RequantArgs& args, const Tile& tile, uint8_t* out) {
  const float32x4_t scale = vld1q_f32(args.scale + tile.channel);
  const float32x4_t bias = vld1q_f32(args.bias + tile.channel);
  const float32x4_t top = vdupq_n_f32(static_cast<float>(args.levels - 1));
  int32x4_t acc[kPixels], codes[kPixels];
  LoadTile(args, tile, acc);
  for (int32_t p = 0; p < kPixels; ++p) {
    const float32x4_t value = vaddq_f32(vmulq_f32(vcvtq_f32_s32(acc[p]), scale), bias);
    codes[p] = vcvtnq_s32_f32(vminnmq_f32(vmaxnmq_f32(value, vdupq_n_f32(0.0f)), top));
  }
  StoreTile(args, tile, codes, out);
}

void MakeBits(const RequantArgs& args) {
  static const uint32_t kBits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  for (int32_t p = 0; p < args.pixels; ++p) {
    const int32_t* acc = args.acc + p * args.acc_pixel;
    uint8_t* out = args.out_bits + p * args.out_pixel;
    int32_t c = 0;
    for (; c + 8 <= args.channels; c += 8) {
      const uint32x4_t low = vcltq_s32(vld1q_s32(acc + c), vld1q_s32(args.thresholds + c));
      const uint32x4_t high = vcltq_s32(vld1q_s32(acc + c + 4), vld1q_s32(args.thresholds + c + 4));
      const uint32x4_t bits =
          vorrq_u32(vandq_u32(low, vld1q_u32(kBits)), vandq_u32(high, vld1q_u32(kBits + 4)));
      out[c / 8] = static_cast<uint8_t>(vaddvq_u32(bits));
    }
    if (c < args.channels) {
      uint32_t bits = 0;
      for (int32_t i = c; i < args.channels; ++i) {
        bits |= static_cast<uint32_t>(acc[i] < args.thresholds[i]) << (i - c);
      }
      out[c / 8] = static_cast<uint8_t>(bits);
    }
  }
}

using TileFn = void (*)(const RequantArgs& args, const Tile& tile, uint8_t* out);

template <TileFn kRun>
void RunTiles(const RequantArgs& args) {
  for (int32_t p = 0; p < args.pixels; p += kPixels) {
    Tile tile;
    tile.acc = args.acc + p * args.acc_pixel;
    tile.pixels = args.pixels - p < kPixels ? args.pixels - p : kPixels;
    for (int32_t c = 0; c < args.channels; c += kLanes) {
      tile.channel = c;
      tile.lanes = args.channels - c < kLanes ? args.channels - c : kLanes;
      kRun(args, tile, args.out_codes + p * args.out_pixel);
    }
  }
}

}  // namespace

void RequantNeon(const RequantArgs& args) {
  if (args.out_bits != nullptr) {
    MakeBits(args);
  } else if (args.thresholds != nullptr) {
    RunTiles<CompareTile>(args);
  } else {
    RunTiles<AffineTile>(args);
  }
}

}  // namespace bitmill
