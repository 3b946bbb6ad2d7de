// Few pixels: their windows are copied side by side, section by section, and every block of weights
// meets all of them while it is in the first cache. So weights come from memory once, and no two
// loads of a step share address bits 6 to 11 with different pages (those wait for each other).
// Copies cost a load and a store for 4 steps and row, shared by all channels.
//
// Sparse weights: groups of channels list their units, and kernels find the activations of each by
// its number. What mends masked codes is then the sum over the listed units only: one addition a
// unit, row and group.
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

// The units of steps `first` to `first + count - 1` of the pixels of a tile. `unit_sums`: null, or
// the sums of each step's activations, `pixel_sums` from row to row; 6 more are written behind.
template <int kSteps>
void Gather(const QconvArgs& args, const QconvPixel* pixels, int64_t first, int64_t count,
            uint8_t* codes, int16_t* unit_sums, int64_t pixel_sums, QconvRows* tile) {
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
      const __m128i here =
          StepSums(kSteps == 2 ? _mm_loadl_epi64(copied) : _mm_loadu_si128(copied));
      low = _mm_add_epi32(low, here);
      __m128i above = _mm_setzero_si128();
      if constexpr (kSteps == 8) {
        above = StepSums(_mm_loadu_si128(copied + 1));
        high = _mm_add_epi32(high, above);
      }
      if (unit_sums == nullptr) continue;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(unit_sums + r * pixel_sums + s),
                       _mm_packs_epi32(here, above));
    }
    __m128i* const sums = reinterpret_cast<__m128i*>(tile->step_sums[r]);
    _mm_storeu_si128(sums, low);
    _mm_storeu_si128(sums + 1, high);
  }
}

void Gather(const QconvArgs& args, const QconvPixel* pixels, int64_t first, int64_t count,
            uint8_t* codes, int16_t* unit_sums, int64_t pixel_sums, QconvRows* tile) {
  switch (args.kind) {
    case QconvWeights::k1Bit:
      return Gather<8>(args, pixels, first, count, codes, unit_sums, pixel_sums, tile);
    case QconvWeights::k2Bit:
      return Gather<4>(args, pixels, first, count, codes, unit_sums, pixel_sums, tile);
    case QconvWeights::k4Bit:
      return Gather<2>(args, pixels, first, count, codes, unit_sums, pixel_sums, tile);
    case QconvWeights::k8Bit:
      return;
  }
}

// Adds up the sums of the listed units of a row.
template <int kSteps>
void SumUnits(const int16_t* unit_sums, const QconvRows& rows, int32_t* step_sums) {
  __m256i sum = _mm256_setzero_si256();
  for (int64_t u = 0; u < rows.units; ++u) {
    const auto* const unit =
        reinterpret_cast<const __m128i*>(unit_sums + (rows.list[u] - rows.list_first) * kSteps);
    sum = _mm256_add_epi32(sum, _mm256_cvtepi16_epi32(_mm_loadu_si128(unit)));
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(step_sums), sum);
  // The others are of the next units.
  for (int s = kSteps; s < 8; ++s) step_sums[s] = 0;
}

void SumUnits(QconvWeights kind, const int16_t* unit_sums, const QconvRows& rows,
              int32_t* step_sums) {
  switch (kind) {
    case QconvWeights::k1Bit:
      return SumUnits<8>(unit_sums, rows, step_sums);
    case QconvWeights::k2Bit:
      return SumUnits<4>(unit_sums, rows, step_sums);
    case QconvWeights::k4Bit:
      return SumUnits<2>(unit_sums, rows, step_sums);
    case QconvWeights::k8Bit:
      return;
  }
}

// A section of the steps: its place among them, and the activations of all pixels there.
struct Section {
  int64_t first, count;
  int64_t tile_count;
  QconvSection place;
  const QconvPixel* pixels;
  const QconvRows* tiles;
  const int16_t* unit_sums;  // of sparse weights, [pixel][units of a full section][steps of a unit]
  int64_t pixel_sums;        // from one pixel to the next
};

// The number of the first listed unit that is not before `unit`.
int64_t FindUnit(const QconvGroup& group, int64_t unit) {
  int64_t low = 0, high = group.unit_count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (group.units[middle] < unit) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// What a group sees of the section's tiles; returns how many of its units lie before.
int64_t ListUnits(const QconvArgs& args, const QconvGroup& group, const Section& section,
                  QconvRows* tiles) {
  const int64_t unit_steps = QconvUnitSteps(args.kind);
  const int64_t first_unit = section.first / unit_steps;
  const int64_t begin = FindUnit(group, first_unit);
  const int64_t end = FindUnit(group, first_unit + (section.count + unit_steps - 1) / unit_steps);
  const int16_t* unit_sums = section.unit_sums;
  for (int64_t t = 0; t < section.tile_count; ++t) {
    QconvRows& rows = tiles[t];
    rows = section.tiles[t];
    rows.units = end - begin;
    rows.list = group.units + begin;
    rows.list_first = first_unit;
    for (int64_t r = 0; r < rows.rows; ++r, unit_sums += section.pixel_sums) {
      SumUnits(args.kind, unit_sums, rows, rows.step_sums[r]);
    }
  }
  return begin;
}

// One row times several pairs of blocks at a time; returns how many channels are done.
int64_t RunStreams(const QconvArgs& args, QconvRowsOfFn kernel_of, const QconvGroup& group,
                   const Section& section, int64_t before) {
  constexpr int64_t kStreamLanes = kQconvStreamBlocks * kLanes;
  const QconvRowsFn kernel = kernel_of({args.kind, 1, kQconvStreamBlocks, false});
  if (kernel == nullptr) return 0;
  QconvRows rows = section.tiles[0];
  rows.pair_bytes = QconvBlockOf(group, kTileBlocks).units - group.weights;
  int64_t channel = 0;
  for (; channel + kStreamLanes <= group.channels; channel += kStreamLanes) {
    alignas(64) int32_t sums[kStreamLanes];
    const QconvBlock block = QconvBlockOf(group, channel / kLanes);
    kernel(rows, block.units + before * block.unit_stride, sums);
    StoreQconvTileAvx2(args, section.pixels, 1, group.channel + channel, kQconvStreamBlocks, sums,
                       section.place);
  }
  return channel;
}

// All channels of a group.
void RunSection(const QconvArgs& args, QconvRowsOfFn kernel_of, const QconvGroup& group,
                const Section& section) {
  QconvRows listed[kMostTiles];
  const bool sparse = args.sparse != nullptr;
  const QconvRows* const tiles = sparse ? listed : section.tiles;
  const int64_t before =
      sparse ? ListUnits(args, group, section, listed) : section.first / QconvUnitSteps(args.kind);
  int64_t channel = 0;
  if (section.tile_count == 1 && tiles[0].rows == 1 && !sparse) {
    channel = RunStreams(args, kernel_of, group, section, before);
  }
  for (; channel < group.channels; channel += kTileBlocks * kLanes) {
    const int64_t blocks = group.channels - channel > kLanes ? kTileBlocks : 1;
    const QconvBlock block = QconvBlockOf(group, channel / kLanes);
    const uint8_t* const units = block.units + before * block.unit_stride;
    const QconvPixel* pixels = section.pixels;
    for (int64_t t = 0; t < section.tile_count; ++t) {
      alignas(64) int32_t sums[kQconvTileRows * kTileBlocks * kLanes];
      kernel_of({args.kind, tiles[t].rows, blocks, sparse})(tiles[t], units, sums);
      StoreQconvTileAvx2(args, pixels, tiles[t].rows, group.channel + channel, blocks, sums,
                         section.place);
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
  alignas(64) int16_t sums_scratch[kScratchBytes / kStepBytes + 8];
  int16_t* const unit_sums = args.sparse != nullptr ? sums_scratch : nullptr;
  const int64_t groups = QconvGroupCount(args);
  const int64_t section_steps = kScratchBytes / kStepBytes / pixel_count / 8 * 8;
  for (int64_t first = 0; first < args.steps; first += section_steps) {
    const int64_t left = args.steps - first;
    const int64_t count = left < section_steps ? left : section_steps;
    for (int64_t t = 0, pixel = 0; t < tile_count; pixel += tiles[t++].rows) {
      int16_t* const sums = unit_sums != nullptr ? unit_sums + pixel * section_steps : nullptr;
      Gather(args, pixels + pixel, first, count, scratch + pixel * section_steps * kStepBytes, sums,
             section_steps, &tiles[t]);
    }
    const Section section = {first,  count, tile_count, {first == 0, left <= section_steps},
                             pixels, tiles, unit_sums,  section_steps};
    for (int64_t g = 0; g < groups; ++g) {
      RunSection(args, kernel_of, QconvGroupOf(args, g), section);
    }
  }
  return true;
}

}  // namespace bitmill
