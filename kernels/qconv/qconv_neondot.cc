// Signed bytes of weights times signed bytes of activations with sdot (Armv8.2 dot product), which
// sums four products into 32 bits.
//
// Activations lose 128, so that both factors are signed bytes: a * w = (a - 128) * w + 128 * w, and
// the second part is 128 times the sum of the lane's weights, formed while they are expanded.
//
// Tile: 8 pixels x 8 output channels. A step of 4 input channels is 16 sdot of 16 products each: 8
// cycles on two pipes for 256 products, beside 10 loads.
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"
#include "kernels/qconv/qconv_pieces_neon.h"

namespace bitmill {

void QconvNeonDot(const QconvArgs& args);

namespace {

constexpr int64_t kTilePixels = 8;

// The four activation bytes of a step, four times, less 128.
inline int8x16_t Activations(const uint8_t* bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof(word));
  return vreinterpretq_s8_u8(
      veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(word)), vdupq_n_u8(kOffset)));
}

// Adds a chunk to sums[pixel][8].
template <int kPixels>
void CountChunk(const QconvPixel* pixels, const Chunk& chunk, int32_t* sums) {
  int32x4_t low[kPixels], high[kPixels];
  const uint8_t* windows[kPixels];
  for (int p = 0; p < kPixels; ++p) {
    low[p] = vld1q_s32(sums + p * kLanes);
    high[p] = vld1q_s32(sums + p * kLanes + 4);
    windows[p] = pixels[p].window;
  }
  const int8_t* weights = chunk.weights;
  for (int64_t s = 0; s < chunk.steps; ++s, weights += kStepBytes) {
    const int8x16_t w_low = vld1q_s8(weights), w_high = vld1q_s8(weights + 16);
    for (int p = 0; p < kPixels; ++p) {
      const int8x16_t a = Activations(windows[p] + chunk.step_bytes[s]);
      low[p] = vdotq_s32(low[p], w_low, a);
      high[p] = vdotq_s32(high[p], w_high, a);
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    vst1q_s32(sums + p * kLanes, low[p]);
    vst1q_s32(sums + p * kLanes + 4, high[p]);
  }
}

void RunBlock(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
              int64_t channel) {
  int8_t weights[kChunkSteps * kStepBytes];
  int32_t sums[kListPixels * kLanes];
  memset(sums, 0, static_cast<size_t>(pixel_count) * kLanes * sizeof(sums[0]));
  const QconvBlock block = QconvBlockOf(args, channel / kLanes);
  int32x4_t lane_sums[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
  for (int64_t first = 0; first < args.steps; first += kChunkSteps) {
    const int64_t left = args.steps - first;
    const Chunk chunk = {args.step_bytes + first, left < kChunkSteps ? left : kChunkSteps, weights};
    ExpandSteps(args.kind, block, first, chunk.steps, weights, lane_sums);
    int64_t p = 0;
    for (; p + kTilePixels <= pixel_count; p += kTilePixels) {
      CountChunk<kTilePixels>(pixels + p, chunk, sums + p * kLanes);
    }
    for (; p < pixel_count; ++p) CountChunk<1>(pixels + p, chunk, sums + p * kLanes);
  }
  const int64_t lanes = args.out_channels - channel;
  for (int64_t p = 0; p < pixel_count; ++p) {
    for (int half = 0; half < 2 && lanes > half * 4; ++half) {
      const int32x4_t sum = vld1q_s32(sums + p * kLanes + half * 4);
      StoreNumbers(args, pixels[p], channel + half * 4, lanes - half * 4,
                   vmlaq_n_s32(sum, lane_sums[half], kOffset));
    }
  }
}

}  // namespace

void QconvNeonDot(const QconvArgs& args) {
  ForEachBlock(args, [&args](const QconvPixel* pixels, int64_t count, int64_t channel) {
    RunBlock(args, pixels, count, channel);
  });
}

}  // namespace bitmill
