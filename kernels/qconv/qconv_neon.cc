// Signed bytes of weights times signed bytes of activations, in 16 bits.
//
// Activations lose 128, so that both factors are signed bytes: a * w = (a - 128) * w + 128 * w, and
// the second part is 128 times the sum of the lane's weights, formed while they are expanded.
// Products are at most 128 * |w| in size, so 16 bits hold 255, 127, 31 and 1 of them for weights of
// 1, 2, 4 and 8 bits; then sadalp moves them to 32 bits. Nothing saturates.
//
// Tile: 4 pixels x 8 output channels. A step of 4 input channels is 16 smlal of 8 products each:
// 16 cycles on one multiplier pipe, 8 on two, for 128 products.
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {

void QconvNeon(const QconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepBytes = 32;  // of expanded weights of a block
constexpr int kVectors = 4;         // of two lanes with four products each
constexpr int64_t kTilePixels = 4;
constexpr int64_t kListPixels = 60;
constexpr int64_t kChunkSteps = 128;
constexpr int32_t kOffset = 128;

struct Format {
  int bits;
  int64_t flush_steps;  // 32767 / (128 * the largest weight)
};

Format FormatOf(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return {1, 255};
    case QconvWeights::k2Bit:
      return {2, 127};
    case QconvWeights::k4Bit:
      return {4, 31};
    case QconvWeights::k8Bit:
      break;
  }
  return {8, 1};
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
void ExpandSteps(QconvWeights kind, const QconvBlock& block, int64_t first, int64_t count,
                 int8_t* out, int32x4_t* lane_sums) {
  const int bits = FormatOf(kind).bits;
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

// The four activation bytes of a step, twice, less 128.
inline int8x8_t Activations(const uint8_t* bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof(word));
  return vreinterpret_s8_u8(veor_u8(vreinterpret_u8_u32(vdup_n_u32(word)), vdup_n_u8(kOffset)));
}

// Adds a chunk to sums[pixel][vector][4]: two lanes with two partial sums each.
template <int kPixels>
void CountChunk(const QconvPixel* pixels, const Chunk& chunk, int64_t flush_steps, int32_t* sums) {
  const int8_t* weights = chunk.weights;
  for (int64_t first = 0; first < chunk.steps; first += flush_steps) {
    const int64_t end = chunk.steps - first < flush_steps ? chunk.steps : first + flush_steps;
    int16x8_t products[kPixels][kVectors];
    for (int p = 0; p < kPixels; ++p) {
      for (int v = 0; v < kVectors; ++v) products[p][v] = vdupq_n_s16(0);
    }
    for (int64_t s = first; s < end; ++s, weights += kStepBytes) {
      int8x8_t w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = vld1_s8(weights + v * 8);
      for (int p = 0; p < kPixels; ++p) {
        const int8x8_t a = Activations(pixels[p].window + chunk.step_bytes[s]);
        for (int v = 0; v < kVectors; ++v) products[p][v] = vmlal_s8(products[p][v], w[v], a);
      }
    }
    for (int p = 0; p < kPixels; ++p) {
      for (int v = 0; v < kVectors; ++v) {
        int32_t* place = sums + (p * kVectors + v) * 4;
        vst1q_s32(place, vpadalq_s16(vld1q_s32(place), products[p][v]));
      }
    }
  }
}

// Four channels of one pixel; `lanes` of them exist.
void StoreNumbers(const QconvArgs& args, const QconvPixel& pixel, int64_t channel, int64_t lanes,
                  int32x4_t sums) {
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

void RunBlock(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
              int64_t channel) {
  int8_t weights[kChunkSteps * kStepBytes];
  int32_t sums[kListPixels * kVectors * 4];
  memset(sums, 0, static_cast<size_t>(pixel_count) * kVectors * 4 * sizeof(sums[0]));
  const QconvBlock block = QconvBlockOf(args, channel / kLanes);
  const int64_t flush_steps = FormatOf(args.kind).flush_steps;
  int32x4_t lane_sums[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
  for (int64_t first = 0; first < args.steps; first += kChunkSteps) {
    const int64_t left = args.steps - first;
    const Chunk chunk = {args.step_bytes + first, left < kChunkSteps ? left : kChunkSteps, weights};
    ExpandSteps(args.kind, block, first, chunk.steps, weights, lane_sums);
    int64_t p = 0;
    for (; p + kTilePixels <= pixel_count; p += kTilePixels) {
      CountChunk<kTilePixels>(pixels + p, chunk, flush_steps, sums + p * kVectors * 4);
    }
    for (; p < pixel_count; ++p) {
      CountChunk<1>(pixels + p, chunk, flush_steps, sums + p * kVectors * 4);
    }
  }
  const int64_t lanes = args.out_channels - channel;
  for (int64_t p = 0; p < pixel_count; ++p) {
    for (int half = 0; half < 2 && lanes > half * 4; ++half) {
      const int32_t* part = sums + (p * kVectors + half * 2) * 4;
      const int32x4_t joined = vpaddq_s32(vld1q_s32(part), vld1q_s32(part + 4));
      StoreNumbers(args, pixels[p], channel + half * 4, lanes - half * 4,
                   vmlaq_n_s32(joined, lane_sums[half], kOffset));
    }
  }
}

}  // namespace

void QconvNeon(const QconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  QconvPixel list[kListPixels];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListQconvPixels(args, first, count, list);
    for (int64_t channel = 0; channel < args.out_channels; channel += kLanes) {
      RunBlock(args, list, count, channel);
    }
  }
}

}  // namespace bitmill
