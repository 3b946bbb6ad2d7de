// Few pixels: their windows are copied side by side, section by section, and every block of weights
// meets all of them while it is in the first cache. So weights come from memory once, and no two
// loads of a step share address bits 6 to 11 with different pages (those wait for each other).
// Copies cost a load and a store for 4 steps and row, shared by all channels.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kStepBytes = 4;
constexpr int64_t kTileBlocks = 2;
constexpr int64_t kMostPixels = 24;  // beyond them expansion is cheaper than masks
constexpr int64_t kMostTiles = kMostPixels / kQconvTileRows;
constexpr int64_t kScratchBytes = 32768;  // of copied activations: a section of the steps

// The activations of each of four steps summed.
inline __m128i StepSums(__m128i codes) {
  const __m128i pairs = _mm_maddubs_epi16(codes, _mm_set1_epi8(1));
  return _mm_madd_epi16(pairs, _mm_set1_epi16(1));
}

// Whether kSteps steps are one run of bytes.
template <int kSteps>
inline bool AreAdjacent(const int32_t* step_bytes) {
  bool adjacent = true;
  for (int s = 1; s < kSteps; ++s) {
    adjacent &= step_bytes[s] - step_bytes[s - 1] == kStepBytes;
  }
  return adjacent;
}

// The `count` codes of a unit of `kSteps` steps, zeros behind.
template <int kSteps>
inline void CopyUnit(const uint8_t* window, const int32_t* step_bytes, int64_t count,
                     uint8_t* out) {
  if (count == kSteps && AreAdjacent<kSteps>(step_bytes)) {
    memcpy(out, window + step_bytes[0], kSteps * kStepBytes);
    return;
  }
  for (int64_t s = 0; s < count; ++s) {
    memcpy(out + s * kStepBytes, window + step_bytes[s], kStepBytes);
  }
  memset(out + count * kStepBytes, 0, static_cast<size_t>((kSteps - count) * kStepBytes));
}

// The units of steps `first` to `first + count - 1` of the pixels of a tile.
template <int kSteps>
void Gather(const QconvArgs& args, const QconvPixel* pixels, int64_t first, int64_t count,
            uint8_t* codes, QconvRows* tile) {
  constexpr int64_t kRowBytes = kSteps * kStepBytes;
  tile->units = (count + kSteps - 1) / kSteps;
  tile->activations = codes;
  for (int64_t r = 0; r < tile->rows; ++r) {
    __m128i low = _mm_setzero_si128();
    __m128i high = _mm_setzero_si128();
    uint8_t* out = codes + r * kRowBytes;
    for (int64_t s = 0; s < count; s += kSteps, out += tile->rows * kRowBytes) {
      const int64_t left = count - s;
      CopyUnit<kSteps>(pixels[r].window, args.step_bytes + first + s, left < kSteps ? left : kSteps,
                       out);
      const __m128i* const copied = reinterpret_cast<const __m128i*>(out);
      low = _mm_add_epi32(
          low, StepSums(kSteps == 2 ? _mm_loadl_epi64(copied) : _mm_loadu_si128(copied)));
      if constexpr (kSteps == 8) high = _mm_add_epi32(high, StepSums(_mm_loadu_si128(copied + 1)));
    }
    __m128i* const sums = reinterpret_cast<__m128i*>(tile->step_sums[r]);
    _mm_storeu_si128(sums, low);
    _mm_storeu_si128(sums + 1, high);
  }
}

void Gather(const QconvArgs& args, const QconvPixel* pixels, int64_t first, int64_t count,
            uint8_t* codes, QconvRows* tile) {
  switch (args.kind) {
    case QconvWeights::k1Bit:
      return Gather<8>(args, pixels, first, count, codes, tile);
    case QconvWeights::k2Bit:
      return Gather<4>(args, pixels, first, count, codes, tile);
    case QconvWeights::k4Bit:
      return Gather<2>(args, pixels, first, count, codes, tile);
    case QconvWeights::k8Bit:
      return;
  }
}

// All channels for the steps that `tiles` hold, from `first` on.
void RunSection(const QconvArgs& args, QconvRowsOfFn kernel_of, const QconvPixel* all_pixels,
                const QconvRows* tiles, int64_t tile_count, int64_t first,
                const QconvSection& section) {
  for (int64_t channel = 0; channel < args.out_channels; channel += kTileBlocks * kLanes) {
    const int64_t blocks = args.out_channels - channel > kLanes ? kTileBlocks : 1;
    const QconvBlock block = QconvBlockOf(args, channel / kLanes);
    const uint8_t* const units =
        block.units + first / QconvUnitSteps(args.kind) * block.unit_stride;
    const QconvPixel* pixels = all_pixels;
    for (int64_t t = 0; t < tile_count; ++t) {
      alignas(64) int32_t sums[kQconvTileRows * kTileBlocks * kLanes];
      kernel_of(args.kind, tiles[t].rows, blocks)(tiles[t], units, sums);
      StoreQconvTileAvx2(args, pixels, tiles[t].rows, channel, blocks, sums, section);
      pixels += tiles[t].rows;
    }
  }
}

}  // namespace

bool RunQconvRowsAvx2(const QconvArgs& args, QconvRowsOfFn kernel_of) {
  const int64_t pixel_count = int64_t{args.batch} * args.out_h * args.out_w;
  if (args.kind == QconvWeights::k8Bit || pixel_count > kMostPixels) return false;
  QconvPixel pixels[kMostPixels];
  ListQconvPixels(args, 0, pixel_count, pixels);
  // Tiles of sizes as equal as can be.
  QconvRows tiles[kMostTiles];
  const int64_t tile_count = (pixel_count + kQconvTileRows - 1) / kQconvTileRows;
  for (int64_t t = 0; t < tile_count; ++t) {
    tiles[t].rows = pixel_count / tile_count + (t < pixel_count % tile_count ? 1 : 0);
  }
  alignas(64) uint8_t scratch[kScratchBytes];
  const int64_t section_steps = kScratchBytes / kStepBytes / pixel_count / 8 * 8;
  for (int64_t first = 0; first < args.steps; first += section_steps) {
    const int64_t left = args.steps - first;
    const int64_t count = left < section_steps ? left : section_steps;
    uint8_t* codes = scratch;
    const QconvPixel* tile_pixels = pixels;
    for (int64_t t = 0; t < tile_count; ++t) {
      Gather(args, tile_pixels, first, count, codes, &tiles[t]);
      tile_pixels += tiles[t].rows;
      codes += tiles[t].rows * section_steps * kStepBytes;
    }
    RunSection(args, kernel_of, pixels, tiles, tile_count, first,
               {first == 0, left <= section_steps});
  }
  return true;
}

}  // namespace bitmill
