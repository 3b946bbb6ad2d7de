// Pieces of low-bit convolutions that the files for 64-bit Arm share. Local to the file that
// includes it: see kernels/pool/pool_loops.h.
#pragma once

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepBytes = 32;  // of expanded weights of a block
constexpr int64_t kListPixels = 60;
constexpr int64_t kChunkSteps = 128;
constexpr int32_t kOffset = 128;  // that activations lose

inline int QconvBits(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return 1;
    case QconvWeights::k2Bit:
      return 2;
    case QconvWeights::k4Bit:
      return 4;
    case QconvWeights::k8Bit:
      break;
  }
  return 8;
}

// 16 weights of step i of a unit.
inline int8x16_t Expand(uint8x16_t unit, int bits, int i) {
  if (bits == 8) return vreinterpretq_s8_u8(unit);
  if (bits == 1) {
    const uint8x16_t negative = vtstq_u8(unit, vdupq_n_u8(static_cast<uint8_t>(1 << i)));
    return vreinterpretq_s8_u8(vorrq_u8(negative, vdupq_n_u8(1)));
  }
  const uint8x16_t shifted = vshlq_u8(unit, vdupq_n_s8(static_cast<int8_t>(-i * bits)));
  const uint8x16_t code = vandq_u8(shifted, vdupq_n_u8(static_cast<uint8_t>((1 << bits) - 1)));
  return vsubq_s8(vreinterpretq_s8_u8(code), vdupq_n_s8(static_cast<int8_t>(1 << (bits - 1))));
}

// Steps `first` to `first + count - 1` of a block to out[step][32]; adds each lane's weights to
// lane_sums. `first` is a multiple of the steps of a unit.
inline void ExpandSteps(QconvWeights kind, const QconvBlock& block, int64_t first, int64_t count,
                        int8_t* out, int32x4_t* lane_sums) {
  const int bits = QconvBits(kind);
  const int64_t unit_steps = 8 / bits;
  for (int64_t s = 0; s < count; ++s) {
    const uint8_t* unit = block.units + (first + s) / unit_steps * block.unit_stride;
    for (int half = 0; half < 2; ++half) {
      const int8x16_t w =
          Expand(vld1q_u8(unit + half * 16), bits, static_cast<int>(s % unit_steps));
      vst1q_s8(out + s * kStepBytes + half * 16, w);
      lane_sums[half] = vpadalq_s16(lane_sums[half], vpaddlq_s8(w));
    }
  }
}

struct Chunk {
  const int32_t* step_bytes;
  int64_t steps;
  const int8_t* weights;  // [steps][32]
};

// Four channels of one pixel; `lanes` of them exist.
inline void StoreNumbers(const QconvArgs& args, const QconvPixel& pixel, int64_t channel,
                         int64_t lanes, int32x4_t sums) {
  const int32x4_t acc = vaddq_s32(sums, vld1q_s32(args.base + channel));
  const int64_t count = lanes < 4 ? lanes : 4;
  if (args.out_int32 != nullptr) {
    int32_t values[4];
    vst1q_s32(values, acc);
    for (int64_t i = 0; i < count; ++i) args.out_int32[pixel.out + channel + i] = values[i];
    return;
  }
  const float32x4_t scaled = vmulq_f32(vcvtq_f32_s32(acc), vld1q_f32(args.scale + channel));
  float values[4];
  vst1q_f32(values, vaddq_f32(scaled, vld1q_f32(args.bias + channel)));
  for (int64_t i = 0; i < count; ++i) args.out_float[pixel.out + channel + i] = values[i];
}

// Calls run(pixels, count, channel) for lists of pixels and blocks of channels.
template <typename Run>
void ForEachBlock(const QconvArgs& args, Run run) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  QconvPixel list[kListPixels];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListQconvPixels(args, first, count, list);
    for (int64_t channel = 0; channel < args.out_channels; channel += kLanes) {
      run(list, count, channel);
    }
  }
}

}  // namespace
}  // namespace bitmill
