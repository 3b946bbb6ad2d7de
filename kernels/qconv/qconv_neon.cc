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
#include "kernels/qconv/qconv_pieces_neon.h"

namespace bitmill {

void QconvNeon(const QconvArgs& args);

namespace {

constexpr int kVectors = 4;  // of two lanes with four products each
constexpr int64_t kTilePixels = 4;

// Steps whose products fit 16 bits: 32767 / (128 * the largest weight).
int64_t FlushStepsOf(QconvWeights kind) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return 255;
    case QconvWeights::k2Bit:
      return 127;
    case QconvWeights::k4Bit:
      return 31;
    case QconvWeights::k8Bit:
      break;
  }
  return 1;
}

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

void RunBlock(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
              int64_t channel) {
  int8_t weights[kChunkSteps * kStepBytes];
  int32_t sums[kListPixels * kVectors * 4];
  memset(sums, 0, static_cast<size_t>(pixel_count) * kVectors * 4 * sizeof(sums[0]));
  const QconvBlock block = QconvBlockOf(args, channel / kLanes);
  const int64_t flush_steps = FlushStepsOf(args.kind);
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
  ForEachBlock(args, [&args](const QconvPixel* pixels, int64_t count, int64_t channel) {
    RunBlock(args, pixels, count, channel);
  });
}

}  // namespace bitmill
