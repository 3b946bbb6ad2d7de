// Sums of three products of 2 x 2 bits (or six of 1 x 2) looked up by vpermb: kernels/qconv/
// qconv_lookup.h.
//
// Tile: 4 pixels x 2 vectors of 64 output channels. A lookup is added to bytes; after 9 (2 bits:
// 9 * 27 < 256), or 14 (ternary, 1 bit: 14 * 18 < 256), the bytes join two sums of 16 bits, x + 256
// * y and y (x, y: even and odd bytes), which are taken apart at the end: 9 lookups, 8 additions
// and 3 operations to widen are 20 for 27 products a lane, 10 cycles on two 512-bit ports, 173 MAC
// a cycle; ternary 180. 1-bit weights: a table is the sum of two rows of constants, one addition
// for 2 vectors: 283. Sums of 16 bits stay in registers: in memory they took a fifth. Loads a
// lookup: 1.25 (2 vectors) or 2.25 (1 vector: two loads a cycle bind). Beside the lookups: 9
// operations for 16 tables of a pixel, shared by all channels, and 4 for 16 outputs.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/qconv/qconv_lookup.h"
#include "kernels/qconv/qconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 64;
constexpr int64_t kTilePixels = 4;
constexpr int64_t kMostVectors = 2;
constexpr int64_t kListPixels = 32;  // that meet the indices of a section in turn
constexpr int64_t kListTiles = kListPixels / kTilePixels;
constexpr int64_t kCachedBytes = 512 * 1024;  // of indices
constexpr int64_t kSectionTriples = 504;      // a multiple of 9 and of 14; 504 * 27 < 2^16
constexpr int64_t kSectionSteps = kSectionTriples * 3 / 4;  // whose tables are listed at a time
constexpr int64_t kBlockTriples = 16;                       // listed together
constexpr int64_t kListedTriples = 512;
constexpr int64_t kScratchBytes = 1600;  // the codes of a section and zeros behind them
constexpr int kRows = 64;
constexpr int kRowBytes = 64;

enum class Form { kOneBit, kTernary, kTwoBit };

constexpr int TriplesEach(Form form) { return form == Form::kOneBit ? 2 : 1; }
// Lookups whose sum fits a byte.
constexpr int64_t ByteLookups(Form form) { return form == Form::kTwoBit ? 9 : 14; }

// Row r is of the activations r & 3, r >> 2 & 3 and r >> 4. 1-bit weights: the second part is of
// the upper half of an index.
struct alignas(64) RowTable {
  uint8_t part[2][kRows][kRowBytes];
};

constexpr int CodeValue(Form form, int part, int index, int activation) {
  if (form == Form::kOneBit) return index >> (3 * part + activation) & 1;
  const int code = index >> (2 * activation) & 3;
  if (form == Form::kTwoBit) return code;
  return code > 0 ? code - 1 : 0;
}

constexpr RowTable MakeRows(Form form) {
  RowTable table{};
  for (int part = 0; part < TriplesEach(form); ++part) {
    for (int row = 0; row < kRows; ++row) {
      for (int i = 0; i < kRowBytes; ++i) {
        table.part[part][row][i] = static_cast<uint8_t>(
            (row & 3) * CodeValue(form, part, i, 0) + (row >> 2 & 3) * CodeValue(form, part, i, 1) +
            (row >> 4) * CodeValue(form, part, i, 2));
      }
    }
  }
  return table;
}

template <Form kForm>
constexpr RowTable kTable = MakeRows(kForm);

// What is listed of four pixels: [digits][triples][pixels] offsets of rows, and the sums of their
// activations.
struct alignas(64) Tile {
  uint16_t offsets[2][kListedTriples * kTilePixels];
  int32_t activations[kTilePixels];
};

// In assembly because g++ 12 copies sums to and fro. (Emulated registers are memory.)
inline void AddBytes(__m512i more, __m512i* sum) {
#if defined(__AVX512F__)
  __asm__("vpaddb %[more], %[sum], %[sum]" : [sum] "+v"(*sum) : [more] "v"(more));
#else
  *sum = _mm512_add_epi8(*sum, more);
#endif
}

inline void CopyWindow(const uint8_t* window, const QconvRun* runs, int64_t run_count,
                       uint8_t* out) {
  for (int64_t r = 0; r < run_count; ++r) {
    const uint8_t* src = window + runs[r].offset;
    int64_t left = runs[r].bytes;
    for (; left >= kLanes; left -= kLanes, src += kLanes, out += kLanes) {
      _mm512_storeu_si512(out, _mm512_loadu_si512(src));
    }
    if (left == 0) continue;
    const __mmask64 mask = (uint64_t{1} << left) - 1;
    _mm512_mask_storeu_epi8(out, mask, _mm512_maskz_loadu_epi8(mask, src));
    out += left;
  }
  _mm512_storeu_si512(out, _mm512_setzero_si512());
}

// Lane order of 16 triples such that unpacking pairs of pixels puts them in order.
alignas(64) constexpr uint8_t kTripleBytes[64] = {
    0,  1,  2,  0, 3,  4,  5,  0, 24, 25, 26, 0, 27, 28, 29, 0,  //
    6,  7,  8,  0, 9,  10, 11, 0, 30, 31, 32, 0, 33, 34, 35, 0,  //
    12, 13, 14, 0, 15, 16, 17, 0, 36, 37, 38, 0, 39, 40, 41, 0,  //
    18, 19, 20, 0, 21, 22, 23, 0, 42, 43, 44, 0, 45, 46, 47, 0};

// 16 triples of one pixel, each the number of its row; adds its activations to `sums`.
inline __m512i TripleRows(const uint8_t* codes, int digit, __m512i* sums) {
  const __m512i digits = _mm512_and_si512(
      _mm512_srli_epi16(_mm512_loadu_si512(codes), static_cast<unsigned>(2 * digit)),
      _mm512_set1_epi8(3));
  const __m512i triples = _mm512_permutexvar_epi8(_mm512_load_si512(kTripleBytes), digits);
  *sums = _mm512_dpbusd_epi32(*sums, triples, _mm512_set1_epi32(0x010101));
  return _mm512_dpbusd_epi32(_mm512_setzero_si512(), triples, _mm512_set1_epi32(0x100401));
}

inline __m512i JoinPixels(__m512i first, __m512i second) {
  return _mm512_or_si512(_mm512_slli_epi32(first, 6), _mm512_slli_epi32(second, 22));
}

inline int32_t SumLanes(__m512i sums) {
  alignas(64) int32_t lanes[16];
  _mm512_store_si512(lanes, sums);
  int32_t sum = 0;
  for (const int32_t lane : lanes) sum += lane;
  return sum;
}

// Lists a digit of `bytes` codes of four pixels; adds its sums to theirs.
void ListTriples(const uint8_t (*codes)[kScratchBytes], int64_t bytes, int digit, Tile* tile) {
  __m512i sums[kTilePixels] = {_mm512_setzero_si512(), _mm512_setzero_si512(),
                               _mm512_setzero_si512(), _mm512_setzero_si512()};
  uint16_t* out = tile->offsets[digit];
  for (int64_t b = 0; b < bytes; b += 3 * kBlockTriples) {
    const __m512i first = JoinPixels(TripleRows(codes[0] + b, digit, &sums[0]),
                                     TripleRows(codes[1] + b, digit, &sums[1]));
    const __m512i second = JoinPixels(TripleRows(codes[2] + b, digit, &sums[2]),
                                      TripleRows(codes[3] + b, digit, &sums[3]));
    _mm512_store_si512(out, _mm512_unpacklo_epi32(first, second));
    _mm512_store_si512(out + kBlockTriples * kTilePixels / 2, _mm512_unpackhi_epi32(first, second));
    out += kBlockTriples * kTilePixels;
  }
  for (int64_t p = 0; p < kTilePixels; ++p) {
    tile->activations[p] += SumLanes(sums[p]) << (2 * digit);
  }
}

template <Form kForm>
inline __m512i LoadTable(const uint16_t* offsets, int pixel) {
  const uint8_t* const rows = kTable<kForm>.part[0][0];
  const __m512i row = _mm512_load_si512(rows + offsets[pixel]);
  if constexpr (kForm != Form::kOneBit) return row;
  return _mm512_add_epi8(
      row, _mm512_load_si512(rows + kRows * kRowBytes + offsets[kTilePixels + pixel]));
}

// Constant indices keep every sum in a register.
template <int... kIndex>
struct Indices {};

template <int kVectors>
inline void LoadIndices(const uint8_t* indices, __m512i* index) {
  index[0] = _mm512_load_si512(indices);
  if constexpr (kVectors == 2) index[1] = _mm512_load_si512(indices + kLanes);
}

template <int kVectors>
inline void LookUpFirst(const __m512i* index, __m512i table, __m512i* bytes) {
  bytes[0] = _mm512_permutexvar_epi8(index[0], table);
  if constexpr (kVectors == 2) bytes[1] = _mm512_permutexvar_epi8(index[1], table);
}

template <int kVectors>
inline void LookUp(const __m512i* index, __m512i table, __m512i* bytes) {
  AddBytes(_mm512_permutexvar_epi8(index[0], table), &bytes[0]);
  if constexpr (kVectors == 2) AddBytes(_mm512_permutexvar_epi8(index[1], table), &bytes[1]);
}

// Sums of 16 bits of a pixel: x + 256 * y and y.
template <int kVectors>
struct WordSums {
  __m512i mixed[kVectors], odd[kVectors];
};

template <int kVectors>
inline void Widen(const __m512i* bytes, WordSums<kVectors>* sums) {
  sums->mixed[0] = _mm512_add_epi16(sums->mixed[0], bytes[0]);
  sums->odd[0] = _mm512_add_epi16(sums->odd[0], _mm512_srli_epi16(bytes[0], 8));
  if constexpr (kVectors == 2) {
    sums->mixed[1] = _mm512_add_epi16(sums->mixed[1], bytes[1]);
    sums->odd[1] = _mm512_add_epi16(sums->odd[1], _mm512_srli_epi16(bytes[1], 8));
  }
}

// For the next digit: times 4.
template <int kVectors>
inline void NextDigit(WordSums<kVectors>* sums) {
  for (int v = 0; v < kVectors; ++v) {
    sums->mixed[v] = _mm512_slli_epi16(sums->mixed[v], 2);
    sums->odd[v] = _mm512_slli_epi16(sums->odd[v], 2);
  }
}

// Adds the lookups of one digit of a tile to `all`.
template <Form kForm, int kVectors, int... kPixel>
inline __attribute__((always_inline)) void CountDigit(Indices<kPixel...>, const uint8_t* indices,
                                                      const uint16_t* offsets, int64_t lookups,
                                                      WordSums<kVectors>* all) {
  constexpr int kStep = TriplesEach(kForm) * kTilePixels;
  WordSums<kVectors> sums[kTilePixels] = {all[kPixel]...};
  while (lookups > 0) {
    const int64_t count = lookups < ByteLookups(kForm) ? lookups : ByteLookups(kForm);
    lookups -= count;
    __m512i bytes[kTilePixels][kVectors];
    __m512i index[kVectors];
    LoadIndices<kVectors>(indices, index);
    (LookUpFirst<kVectors>(index, LoadTable<kForm>(offsets, kPixel), bytes[kPixel]), ...);
    indices += kVectors * kLanes;
    offsets += kStep;
    for (int64_t i = 1; i < count; ++i, indices += kVectors * kLanes, offsets += kStep) {
      LoadIndices<kVectors>(indices, index);
      (LookUp<kVectors>(index, LoadTable<kForm>(offsets, kPixel), bytes[kPixel]), ...);
    }
    (Widen(bytes[kPixel], &sums[kPixel]), ...);
  }
  ((all[kPixel] = sums[kPixel]), ...);
}

// A section of the steps of a call.
struct Section {
  int64_t first_lookup, lookups;
  int64_t all_lookups;  // of a window
  int digits;
  QconvSection place;
};

// Sums of a tile as codes in the order of channels: [pixels][vectors * 64].
struct TileWords {
  alignas(64) uint16_t words[kTilePixels * kMostVectors * kLanes];
};

// Takes the sums of a pixel apart.
template <int kVectors>
inline void StoreWords(const WordSums<kVectors>& sums, uint16_t* words) {
  for (int v = 0; v < kVectors; ++v, words += kLanes) {
    const __m512i even = _mm512_sub_epi16(sums.mixed[v], _mm512_slli_epi16(sums.odd[v], 8));
    _mm512_store_si512(words, even);
    _mm512_store_si512(words + kLanes / 2, sums.odd[v]);
  }
}

// What sums of codes become in the end.
enum class Output { kInt, kFloat };

// Writes 16 channels (kFull) or fewer of all pixels; the words of the next one `words_pixel` on.
template <Form kForm, Output kOutput, bool kFull>
void StoreLanes(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                int64_t channel, const uint16_t* words, int64_t words_pixel,
                const int32_t* activations, bool first) {
  constexpr int32_t kOffset = kForm == Form::kOneBit ? 1 : kForm == Form::kTernary ? -1 : -2;
  const __mmask16 mask =
      kFull ? __mmask16{0xffff} : static_cast<__mmask16>((1 << (args.out_channels - channel)) - 1);
  const __m512i base = _mm512_maskz_loadu_epi32(mask, args.base + channel);
  __m512 scale = _mm512_setzero_ps();
  __m512 bias = scale;
  if constexpr (kOutput == Output::kFloat) {
    scale = _mm512_maskz_loadu_ps(mask, args.scale + channel);
    bias = _mm512_maskz_loadu_ps(mask, args.bias + channel);
  }
  int32_t* const outputs =
      (args.out_int32 != nullptr ? args.out_int32 : reinterpret_cast<int32_t*>(args.out_float)) +
      channel;
  for (int64_t p = 0; p < pixel_count; ++p, words += words_pixel) {
    int32_t* const out = outputs + pixels[p].out;
    const __m512i before = first ? base : _mm512_maskz_loadu_epi32(mask, out);
    const __m512i start = _mm512_add_epi32(before, _mm512_set1_epi32(kOffset * activations[p]));
    const __m512i codes =
        _mm512_cvtepu16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(words)));
    __m512i value = kForm == Form::kOneBit ? _mm512_sub_epi32(start, _mm512_add_epi32(codes, codes))
                                           : _mm512_add_epi32(start, codes);
    if constexpr (kOutput == Output::kFloat) {
      const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(value), scale);
      value = _mm512_castps_si512(_mm512_add_ps(scaled, bias));
    }
    if constexpr (kFull) {
      _mm512_storeu_si512(out, value);
    } else {
      _mm512_mask_storeu_epi32(out, mask, value);
    }
  }
}

// All channels of a tile. Between sections the sums lie, as int32, in the place of the outputs.
template <Form kForm, Output kOutput>
void StoreTile(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
               int64_t channel, int64_t channels, const uint16_t* words, const int32_t* activations,
               bool first) {
  for (int64_t c = 0; c < channels && channel + c < args.out_channels; c += 16) {
    const bool full = args.out_channels - channel - c >= 16;
    const auto store = full ? StoreLanes<kForm, kOutput, true> : StoreLanes<kForm, kOutput, false>;
    store(args, pixels, pixel_count, channel + c, words + c, channels, activations, first);
  }
}

// Outputs of neighbours lie far apart, and a tile takes longer than a line from memory.
template <int kVectors>
inline void PrefetchOutputs(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                            int64_t channel) {
  const char* const first = args.out_int32 != nullptr
                                ? reinterpret_cast<const char*>(args.out_int32)
                                : reinterpret_cast<const char*>(args.out_float);
  const int64_t left = args.out_channels - channel;
  const int64_t count = left < kVectors * kLanes ? left : kVectors * kLanes;
  for (int64_t p = 0; p < pixel_count; ++p) {
    for (int64_t c = 0; c < count; c += 16) {
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
  for (WordSums<kVectors>& pixel : sums) {
    for (int v = 0; v < kVectors; ++v) pixel.mixed[v] = pixel.odd[v] = _mm512_setzero_si512();
  }
  for (int digit = section.digits - 1; digit >= 0; --digit) {
    CountDigit<kForm>(Indices<0, 1, 2, 3>(), indices, tile.offsets[digit], section.lookups, sums);
    if (digit == 0) break;
    for (WordSums<kVectors>& pixel : sums) NextDigit(&pixel);
  }
  constexpr int64_t kChannels = kVectors * kLanes;
  TileWords out;
  for (int64_t p = 0; p < kTilePixels; ++p) StoreWords(sums[p], out.words + p * kChannels);
  const bool as_float = args.out_int32 == nullptr && section.place.last;
  const auto store = as_float ? StoreTile<kForm, Output::kFloat> : StoreTile<kForm, Output::kInt>;
  store(args, pixels, pixel_count, channel, kChannels, out.words, tile.activations,
        section.place.first);
}

// Tables of all listed pixels.
void ListTiles(const QconvPixel* pixels, int64_t pixel_count, const QconvRun* runs,
               int64_t run_count, int64_t bytes, int digits, Tile* tiles) {
  alignas(64) uint8_t codes[kTilePixels][kScratchBytes];
  for (int64_t first = 0; first < pixel_count; first += kTilePixels) {
    Tile* const tile = tiles + first / kTilePixels;
    for (int64_t p = 0; p < kTilePixels; ++p) {
      // A tile is filled up with its first pixel; those results are not stored.
      const int64_t pixel = first + p < pixel_count ? first + p : first;
      CopyWindow(pixels[pixel].window, runs, run_count, codes[p]);
      tile->activations[p] = 0;
    }
    for (int digit = 0; digit < digits; ++digit) ListTriples(codes, bytes, digit, tile);
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
  constexpr int64_t kCodes = 3 * TriplesEach(kForm);  // a lookup
  const int64_t all_lookups = QconvLookupCount(args, {kLanes, 6});
  const TileList list = {pixels, pixel_count, tiles};
  for (int64_t first = 0; first < args.steps; first += kSectionSteps) {
    const int64_t left = args.steps - first;
    const int64_t steps = left < kSectionSteps ? left : kSectionSteps;
    QconvRun runs[kSectionSteps];
    const int64_t run_count = ListQconvRuns(args, first, steps, runs);
    ListTiles(pixels, pixel_count, runs, run_count, 4 * steps, digits, tiles);
    const Section section = {4 * first / kCodes,
                             (4 * steps + kCodes - 1) / kCodes,
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

void QconvLookupAvx512Vpopcnt(const QconvArgs& args) {
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
