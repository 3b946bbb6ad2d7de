// Sums of two products of 2 x 2 bits (or four of 1 x 2) looked up by vpshufb: kernels/qconv/
// qconv_lookup.h.
//
// Tile: 4 pixels x 2 vectors of 32 output channels. A lookup is added to bytes; after 14 (2 bits:
// 14 * 18 < 256), or 21 (ternary, 1 bit: 21 * 12 < 256), the bytes join two sums of 16 bits, x +
// 256 * y and y (x, y: even and odd bytes), which lie in memory and are taken apart at the end. A
// lookup of the tile is 8 shuffles and 8 additions for 512 products (1 bit: 1,024); 4 tables and 2
// vectors of indices are loaded for it. Beside the lookups: 3 operations a sum to widen every 14 of
// them (10 %), 4 for the tables of 16 lookups of a pixel, shared by all channels, and outputs.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_lookup.h"
#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 32;
constexpr int64_t kBlockLanes = 8;
constexpr int64_t kVectorBlocks = kLanes / kBlockLanes;
constexpr int64_t kTilePixels = 4;
constexpr int64_t kMostVectors = 2;
constexpr int64_t kListPixels = 32;  // that meet the indices of a section in turn
constexpr int64_t kListTiles = kListPixels / kTilePixels;
constexpr int64_t kCachedBytes = 256 * 1024;  // of indices
constexpr int64_t kStepCodes = 4;
constexpr int64_t kSectionSteps = 384;                         // whose tables are listed at a time
constexpr int64_t kSectionCodes = kSectionSteps * kStepCodes;  // * 9 or * 15 < 2^16
constexpr int64_t kMostLookups = kSectionCodes / 2;
constexpr int kRowBytes = 16;

enum class Form { kOneBit, kTernary, kTwoBit };

constexpr int CodesEach(Form form) { return form == Form::kOneBit ? 4 : 2; }
constexpr int Rows(Form form) { return form == Form::kOneBit ? 256 : 16; }
// Lookups whose sum fits a byte.
constexpr int64_t ByteLookups(Form form) { return form == Form::kTwoBit ? 14 : 21; }

constexpr int CodeValue(Form form, int index, int place) {
  if (form == Form::kOneBit) return index >> place & 1;
  const int code = index >> (2 * place) & 3;
  if (form == Form::kTwoBit) return code;
  return code > 0 ? code - 1 : 0;
}

// Row r is of the activations r & 3, r >> 2 & 3 and so on.
template <int kRows>
struct alignas(64) RowTable {
  uint8_t row[kRows][kRowBytes];
};

template <Form kForm>
constexpr RowTable<Rows(kForm)> MakeRows() {
  RowTable<Rows(kForm)> table{};
  for (int row = 0; row < Rows(kForm); ++row) {
    for (int i = 0; i < kRowBytes; ++i) {
      int sum = 0;
      for (int a = 0; a < CodesEach(kForm); ++a) {
        sum += (row >> (2 * a) & 3) * CodeValue(kForm, i, a);
      }
      table.row[row][i] = static_cast<uint8_t>(sum);
    }
  }
  return table;
}

template <Form kForm>
constexpr RowTable<Rows(kForm)> kTable = MakeRows<kForm>();

// What is listed of four pixels: [digits][pixels][lookups] offsets of rows, and the sums of their
// activations.
struct alignas(64) Tile {
  uint16_t offsets[2][kTilePixels][kMostLookups];
  int32_t activations[kTilePixels];
};

inline __m256i Load(const void* data) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(data));
}

inline void Store(void* data, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(data), value);
}

// Codes of a section in the order of the window, and zeros up to a whole vector.
void CopyWindow(const uint8_t* window, const QconvRun* runs, int64_t run_count, uint8_t* out) {
  for (int64_t r = 0; r < run_count; ++r) {
    memcpy(out, window + runs[r].offset, static_cast<size_t>(runs[r].bytes));
    out += runs[r].bytes;
  }
  memset(out, 0, kLanes);
}

inline int32_t SumLanes(__m256i sums) {
  alignas(32) int64_t lanes[4];
  Store(lanes, sums);
  return static_cast<int32_t>(lanes[0] + lanes[1] + lanes[2] + lanes[3]);
}

// Offsets of the rows of one digit of `bytes` codes; returns the sum of these digits.
template <Form kForm>
int32_t ListRows(const uint8_t* codes, int64_t bytes, int digit, uint16_t* offsets) {
  const __m128i shift = _mm_cvtsi32_si128(2 * digit);
  __m256i sums = _mm256_setzero_si256();
  for (int64_t b = 0; b < bytes; b += kLanes) {
    const __m256i digits =
        _mm256_and_si256(_mm256_srl_epi16(Load(codes + b), shift), _mm256_set1_epi8(3));
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(digits, _mm256_setzero_si256()));
    const __m256i pairs =
        _mm256_maddubs_epi16(digits, _mm256_set1_epi16((4 * kRowBytes << 8) | kRowBytes));
    if constexpr (kForm == Form::kOneBit) {
      const __m256i fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(16 << 16 | 1));
      const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(fours, fours), 0xd8);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(offsets), _mm256_castsi256_si128(packed));
    } else {
      Store(offsets, pairs);
    }
    offsets += kLanes / CodesEach(kForm);
  }
  return SumLanes(sums);
}

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {};

// In assembly because g++ 12 copies sums to and fro.
inline void AddBytes(__m256i more, __m256i* sum) {
  __asm__("vpaddb %[more], %[sum], %[sum]" : [sum] "+x"(*sum) : [more] "x"(more));
}

template <Form kForm>
inline __m256i LoadTable(uint16_t offset) {
  const uint8_t* const rows = kTable<kForm>.row[0];
  const uint8_t* const row = rows + offset;
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(row)));
}

template <int kVectors>
inline __attribute__((always_inline)) void LookUp(const __m256i* index, __m256i table,
                                                  __m256i* bytes) {
  AddBytes(_mm256_shuffle_epi8(table, index[0]), &bytes[0]);
  if constexpr (kVectors == 2) AddBytes(_mm256_shuffle_epi8(table, index[1]), &bytes[1]);
}

template <int kVectors>
inline void Clear(__m256i* bytes) {
  bytes[0] = _mm256_setzero_si256();
  if constexpr (kVectors == 2) bytes[1] = _mm256_setzero_si256();
}

// Sums of 16 bits of a pixel: x + 256 * y and y.
template <int kVectors>
struct alignas(32) WordSums {
  uint16_t mixed[kVectors][kLanes / 2], odd[kVectors][kLanes / 2];
};

template <int kVectors>
inline void Widen(const __m256i* bytes, WordSums<kVectors>* sums) {
  for (int v = 0; v < kVectors; ++v) {
    Store(sums->mixed[v], _mm256_add_epi16(Load(sums->mixed[v]), bytes[v]));
    Store(sums->odd[v], _mm256_add_epi16(Load(sums->odd[v]), _mm256_srli_epi16(bytes[v], 8)));
  }
}

// For the next digit: times 4.
template <int kVectors>
inline void NextDigit(WordSums<kVectors>* sums) {
  for (int v = 0; v < kVectors; ++v) {
    Store(sums->mixed[v], _mm256_slli_epi16(Load(sums->mixed[v]), 2));
    Store(sums->odd[v], _mm256_slli_epi16(Load(sums->odd[v]), 2));
  }
}

// Adds one lookup of all pixels of a tile.
template <Form kForm, int kVectors, int... kPixel>
inline __attribute__((always_inline)) void AddLookup(Indices<kPixel...>, const uint8_t* indices,
                                                     const uint16_t* offsets,
                                                     __m256i (*bytes)[kVectors]) {
  __m256i index[kVectors];
  index[0] = Load(indices);
  if constexpr (kVectors == 2) index[1] = Load(indices + kLanes);
  (LookUp<kVectors>(index, LoadTable<kForm>(offsets[kPixel * kMostLookups]), bytes[kPixel]), ...);
}

// Adds the lookups of one digit of a tile to `sums`.
template <Form kForm, int kVectors, int... kPixel>
inline __attribute__((always_inline)) void CountDigit(Indices<kPixel...> pixels,
                                                      const uint8_t* indices,
                                                      const uint16_t* offsets, int64_t lookups,
                                                      WordSums<kVectors>* sums) {
  constexpr int64_t kUnroll = 7;
  static_assert(ByteLookups(kForm) % kUnroll == 0);
  constexpr int64_t kIndexBytes = kVectors * kLanes;
  while (lookups > 0) {
    int64_t count = lookups < ByteLookups(kForm) ? lookups : ByteLookups(kForm);
    lookups -= count;
    __m256i bytes[kTilePixels][kVectors];
    (Clear<kVectors>(bytes[kPixel]), ...);
    for (; count >= kUnroll; count -= kUnroll) {
#pragma GCC unroll 7
      for (int64_t i = 0; i < kUnroll; ++i) {
        AddLookup<kForm, kVectors>(pixels, indices + i * kIndexBytes, offsets + i, bytes);
      }
      indices += kUnroll * kIndexBytes;
      offsets += kUnroll;
    }
    for (; count > 0; --count, ++offsets, indices += kIndexBytes) {
      AddLookup<kForm, kVectors>(pixels, indices, offsets, bytes);
    }
    (Widen<kVectors>(bytes[kPixel], &sums[kPixel]), ...);
  }
}

// A section of the steps of a call.
struct Section {
  int64_t first_lookup, lookups;
  int64_t all_lookups;  // of a window
  int digits;
  QconvSection place;
};

// Eight channels of a pixel: sums of codes become sums of weights.
template <Form kForm>
inline void StoreBlock(__m128i codes, int32_t activations, int32_t* out) {
  constexpr int32_t kOffset = kForm == Form::kOneBit ? 1 : kForm == Form::kTernary ? -1 : -2;
  const __m256i start = _mm256_set1_epi32(kOffset * activations);
  const __m256i sum = _mm256_cvtepu16_epi32(codes);
  Store(out, kForm == Form::kOneBit ? _mm256_sub_epi32(start, _mm256_add_epi32(sum, sum))
                                    : _mm256_add_epi32(start, sum));
}

// The sums of a pixel taken apart, `blocks` blocks of them.
template <Form kForm, int kVectors>
inline void StoreSums(const WordSums<kVectors>& sums, int32_t activations, int64_t blocks,
                      int32_t* out) {
  for (int64_t v = 0; v < kVectors; ++v) {
    const __m256i odd = Load(sums.odd[v]);
    const __m256i even = _mm256_sub_epi16(Load(sums.mixed[v]), _mm256_slli_epi16(odd, 8));
    const __m128i quarters[kVectorBlocks] = {
        _mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1),
        _mm256_castsi256_si128(odd), _mm256_extracti128_si256(odd, 1)};
    for (int64_t b = 0; b < kVectorBlocks && v * kVectorBlocks + b < blocks; ++b) {
      StoreBlock<kForm>(quarters[b], activations, out + (v * kVectorBlocks + b) * kBlockLanes);
    }
  }
}

// Outputs of neighbours lie far apart, and a tile takes longer than a line from memory.
template <int kVectors>
inline void PrefetchOutputs(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                            int64_t channel) {
  constexpr int64_t kLineElements = 16;
  const char* const first = args.out_int32 != nullptr
                                ? reinterpret_cast<const char*>(args.out_int32)
                                : reinterpret_cast<const char*>(args.out_float);
  const int64_t left = args.out_channels - channel;
  const int64_t count = left < kVectors * kLanes ? left : kVectors * kLanes;
  for (int64_t p = 0; p < pixel_count; ++p) {
    for (int64_t c = 0; c < count; c += kLineElements) {
      _mm_prefetch(first + (pixels[p].out + channel + c) * 4, _MM_HINT_T0);
    }
  }
}

// All vectors of a group for one tile.
template <Form kForm, int kVectors>
void RunTile(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count, const Tile& tile,
             const Section& section, const uint8_t* indices, int64_t channel) {
  PrefetchOutputs<kVectors>(args, pixels, pixel_count, channel);
  WordSums<kVectors> sums[kTilePixels];
  memset(sums, 0, sizeof(sums));
  for (int digit = section.digits - 1; digit >= 0; --digit) {
    CountDigit<kForm, kVectors>(Indices<0, 1, 2, 3>(), indices, tile.offsets[digit][0],
                                section.lookups, sums);
    if (digit == 0) break;
    for (WordSums<kVectors>& pixel : sums) NextDigit(&pixel);
  }
  alignas(32) int32_t out[kTilePixels * kMostVectors * kLanes];
  const int64_t left = (args.out_channels - channel + kBlockLanes - 1) / kBlockLanes;
  const int64_t blocks = left < kVectors * kVectorBlocks ? left : kVectors * kVectorBlocks;
  for (int64_t p = 0; p < pixel_count; ++p) {
    StoreSums<kForm, kVectors>(sums[p], tile.activations[p], blocks,
                               out + p * blocks * kBlockLanes);
  }
  StoreQconvTileAvx2(args, pixels, pixel_count, channel, blocks, out, section.place);
}

// Tables of all listed pixels.
template <Form kForm>
void ListTiles(const QconvPixel* pixels, int64_t pixel_count, const QconvRun* runs,
               int64_t run_count, int64_t bytes, int digits, Tile* tiles) {
  alignas(64) uint8_t codes[kSectionCodes + kLanes];
  for (int64_t p = 0; p < (pixel_count + kTilePixels - 1) / kTilePixels * kTilePixels; ++p) {
    // A tile is filled up with its first pixel; those results are not stored.
    const int64_t pixel = p < pixel_count ? p : p / kTilePixels * kTilePixels;
    Tile& tile = tiles[p / kTilePixels];
    CopyWindow(pixels[pixel].window, runs, run_count, codes);
    int32_t* const sum = &tile.activations[p % kTilePixels];
    *sum = 0;
    for (int digit = 0; digit < digits; ++digit) {
      uint16_t* const offsets = tile.offsets[digit][p % kTilePixels];
      *sum += ListRows<kForm>(codes, bytes, digit, offsets) << (2 * digit);
    }
  }
}

// The tiles of a list, once their tables are listed.
struct TileList {
  const QconvPixel* pixels;
  int64_t pixel_count;
  const Tile* tiles;
};

// All channels of `pixel_count` pixels of a list, group by group.
template <Form kForm>
void RunGroups(const QconvArgs& args, const TileList& list, const Section& section,
               int64_t first_pixel, int64_t pixel_count) {
  const int64_t vectors = (args.out_channels + kLanes - 1) / kLanes;
  const uint8_t* group = static_cast<const uint8_t*>(args.prepared);
  for (int64_t v = 0; v < vectors;) {
    const int64_t size = QconvLookupGroup(vectors - v);
    const uint8_t* const indices = group + section.first_lookup * size * kLanes;
    const auto run = size == 2 ? RunTile<kForm, 2> : RunTile<kForm, 1>;
    for (int64_t p = first_pixel; p < first_pixel + pixel_count; p += kTilePixels) {
      const int64_t left = list.pixel_count - p;
      run(args, list.pixels + p, left < kTilePixels ? left : kTilePixels,
          list.tiles[p / kTilePixels], section, indices, v * kLanes);
    }
    group += section.all_lookups * size * kLanes;
    v += size;
  }
}

template <Form kForm>
void RunList(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count, int digits,
             Tile* tiles) {
  constexpr int64_t kEach = CodesEach(kForm);
  const int64_t all_lookups = QconvLookupCount(args, kQconvNibbles);
  const TileList list = {pixels, pixel_count, tiles};
  for (int64_t first = 0; first < args.steps; first += kSectionSteps) {
    const int64_t left = args.steps - first;
    const int64_t steps = left < kSectionSteps ? left : kSectionSteps;
    QconvRun runs[kSectionSteps];
    const int64_t run_count = ListQconvRuns(args, first, steps, runs);
    const int64_t codes = kStepCodes * steps;
    ListTiles<kForm>(pixels, pixel_count, runs, run_count, codes, digits, tiles);
    const Section section = {kStepCodes * first / kEach,
                             codes / kEach,
                             all_lookups,
                             digits,
                             {first == 0, left <= kSectionSteps}};
    // Outputs are written line after line where the indices stay in the second cache.
    if (section.lookups * args.out_channels > kCachedBytes) {
      RunGroups<kForm>(args, list, section, 0, pixel_count);
      continue;
    }
    for (int64_t p = 0; p < pixel_count; p += kTilePixels) {
      RunGroups<kForm>(args, list, section, p, 1);
    }
  }
}

}  // namespace

void QconvLookupAvx2(const QconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int digits = args.levels > 4 ? 2 : 1;
  QconvPixel list[kListPixels];
  alignas(64) Tile tiles[kListTiles];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListQconvPixels(args, first, count, list);
    if (args.kind == QconvWeights::k1Bit) {
      RunList<Form::kOneBit>(args, list, count, digits, tiles);
    } else if (args.ternary) {
      RunList<Form::kTernary>(args, list, count, digits, tiles);
    } else {
      RunList<Form::kTwoBit>(args, list, count, digits, tiles);
    }
  }
}

}  // namespace bitmill
