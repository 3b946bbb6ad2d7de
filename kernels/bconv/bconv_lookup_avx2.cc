// Popcounts looked up, for two pixels at once: a table of 16 bytes holds popcount(a0 xor w) in the
// low and popcount(a1 xor w) in the high half of a byte, for 4-bit pieces a0 and a1 of two pixels
// and all sixteen w, so one vpshufb with weights as indices counts 4 bits of 32 output channels for
// both. The table of a pair of pieces is one of the 256 rows of a constant of 4 KiB; nothing is
// built. Ternary weights: one index holds which are +1, popcount(a and w), another which are -1,
// popcount(~a and w); a row has both tables.
//
// Three pieces are added while halves of a byte hold them (3 * 4 < 16). Then the low halves go to
// bytes and the words, moved right by 4, to 16-bit sums: h0 + 16 * l1 + 256 * h1, from which the
// bytes give l1 (l, h: halves; 0, 1: even and odd channels). A step of 3 pieces and 32 channels is
// 3 lookups, 2 additions, 1 and, 1 shift, 2 additions: 9 operations for 768 products, 2.25 cycles
// on four vector ports, 341 MAC a cycle at best. Measured on Zen 3 with registers alone: 280 to
// 290, as its two shuffle ports also take other operations; one pixel a byte (4 operations for 256
// products) has 256 at best and 210 measured. Ternary: 15 operations a step, 205 at best and 140
// measured with loads, which bind: 18 for 64 channels. Beside the steps, offsets of table rows take
// 5 to 10 % (64 channels), moving halves to 16-bit sums 5 %, outputs 3 to 7 %.
//
// Weights are stored for 64-bit lanes; here a lane is a byte. They are rearranged a chunk of words
// at a time into a buffer that stays in the first-level cache, for a whole tile of pixels (all of
// them when one chunk is enough): 88 operations a word of 32 channels, against 48 a pair of pixels.
//
// Tried on Zen 4 (79 to 83 % of the ceiling, 69 % for 64 channels): two pairs of pixels at a time,
// so that weights are loaded once for both (1.03 times as fast for 64 channels, in assembly, as all
// registers are taken; half as fast without); offsets listed once an input line for all windows of
// 3x3 taps (1.00); a multiplication instead of the shift, which frees a port of the shuffles
// (0.98). So what is left is how the additions, ands and shifts share ports with the shuffles.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

constexpr int kLanes = 8;         // of a block of weights
constexpr int kVectorBlocks = 4;  // blocks in a vector of bytes
constexpr int kPieces = 16;       // of 4 bits in a word
constexpr int kPieceBytes = 32;   // of rearranged weights, one vector
constexpr int kStepPieces = 3;    // counted in half a byte
constexpr int kFlushWords = 3;    // 16 steps: 16 * 12 < 256 and 16 * 12 * (1 + 16 + 256) < 2^16
constexpr int kFlushSteps = kFlushWords * kPieces / kStepPieces;
constexpr int kVectorSums = 32;                    // 16-bit sums of a vector
constexpr int64_t kChunkBytes = 18 * 1024;         // of rearranged weights
constexpr int64_t kTernaryChunkBytes = 12 * 1024;  // their table is larger
constexpr int64_t kTilePixels = 128;               // whose sums wait for further chunks
constexpr int kRowBytes = 16;
constexpr int kRows = 256;

template <int kPlanes>
struct alignas(64) LookupTable {
  uint8_t row[kRows][kPlanes][kRowBytes];
};

constexpr int Count(int bits) {
  return (bits & 1) + (bits >> 1 & 1) + (bits >> 2 & 1) + (bits >> 3 & 1);
}

// What a 4-bit index holds: signs of weights, or (ternary) which of them are +1, or -1.
enum class Weights { kSigns, kPlus, kMinus };

// Products of -1 for the signs `a` of four activations.
constexpr int CountMinus(Weights kind, int a, int index) {
  if (kind == Weights::kSigns) return Count(a ^ index);
  return Count((kind == Weights::kPlus ? a : a ^ 15) & index);
}

// Row a0 + 16 * a1.
template <int kPlanes>
constexpr LookupTable<kPlanes> MakeTable() {
  LookupTable<kPlanes> table{};
  for (int pair = 0; pair < kRows; ++pair) {
    for (int plane = 0; plane < kPlanes; ++plane) {
      const Weights kind = kPlanes == 1 ? Weights::kSigns
                           : plane == 0 ? Weights::kPlus
                                        : Weights::kMinus;
      for (int w = 0; w < kRowBytes; ++w) {
        table.row[pair][plane][w] = static_cast<uint8_t>(CountMinus(kind, pair & 15, w) +
                                                         16 * CountMinus(kind, pair >> 4, w));
      }
    }
  }
  return table;
}

template <int kPlanes>
constexpr LookupTable<kPlanes> kTable = MakeTable<kPlanes>();

inline __m256i Load(const void* data) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(data));
}

inline void Store(void* data, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(data), value);
}

// Words of the window that are counted in one go.
struct Chunk {
  int64_t first, words;
};

// Blocks of one group of channels that are looked up together.
struct Part {
  const BconvGroup& group;
  int64_t block, blocks;  // the first, within the group

  int64_t first_block() const { return group.channel / kLanes + block; }
};

inline __m128i LoadTwo(const uint64_t* first, const uint64_t* second) {
  return _mm_insert_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(first)),
                          static_cast<int64_t>(*second), 1);
}

// Offsets of the table rows of a pair's pieces: [word][16]. Low halves of a word's bytes
// come first, then the high ones. Two words at a time; the last fills the last two up.
template <int kPlanes>
void PieceOffsets(const BconvPixel* pair, const int32_t* places, int64_t words, uint16_t* offsets) {
  const __m256i high = _mm256_set1_epi8(static_cast<char>(0xf0));
  // A piece of the first pixel, times 16 in its byte, selects a row, one of the second 16 rows.
  const __m256i factors = _mm256_set1_epi16(kPlanes * 0x1001);
  const uint64_t* a = pair[0].window;
  const uint64_t* b = pair[1].window;
  for (int64_t w = 0; w < words; w += 2) {
    const int64_t next = w + 1 < words ? w + 1 : w;
    const __m128i first = LoadTwo(a + places[w], a + places[next]);
    const __m128i second = LoadTwo(b + places[w], b + places[next]);
    const __m256i bytes =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi8(first, second)),
                                _mm_unpackhi_epi8(first, second), 1);
    const __m256i even =
        _mm256_maddubs_epi16(_mm256_and_si256(_mm256_slli_epi16(bytes, 4), high), factors);
    const __m256i odd = _mm256_maddubs_epi16(_mm256_and_si256(bytes, high), factors);
    uint16_t* out = offsets + w * kPieces;
    Store(out, _mm256_permute2x128_si256(even, odd, 0x20));
    Store(out + kPieces, _mm256_permute2x128_si256(even, odd, 0x31));
  }
  // What fills the last step up: no difference from the zeros of the weights there.
  memset(offsets + words * kPieces, 0, (kStepPieces - 1) * sizeof(offsets[0]));
}

template <int kPlanes>
inline __m256i Row(uint16_t offset, int plane) {
  const uint8_t* const rows = kTable<kPlanes>.row[0][0];
  const uint8_t* const row = rows + plane * kRowBytes + offset;
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(row)));
}

// Stops the compiler from reordering the additions, which would take more registers.
inline void KeepInRegister(__m256i* value) { __asm__("" : "+x"(*value)); }

template <int kVectors>
struct HalfSums {
  __m256i low[kVectors];    // bytes: l0, l1
  __m256i mixed[kVectors];  // 16 bits: h0 + 16 * l1 + 256 * h1
};

// Adds the counts of three pieces.
template <int kPlanes, int kVectors>
inline void CountStep(const uint8_t* weights, const uint16_t* offsets, HalfSums<kVectors>& sums) {
  constexpr int kLookups = kStepPieces * kPlanes;
  const __m256i low = _mm256_set1_epi8(0x0f);
  __m256i rows[kLookups];
  for (int i = 0; i < kLookups; ++i) {
    rows[i] = Row<kPlanes>(offsets[i / kPlanes], i % kPlanes);
  }
  for (int v = 0; v < kVectors; ++v) {
    __m256i count = _mm256_shuffle_epi8(rows[0], Load(weights + v * kPieceBytes));
    for (int i = 1; i < kLookups; ++i) {
      const __m256i index = Load(weights + (i * kVectors + v) * kPieceBytes);
      count = _mm256_add_epi8(count, _mm256_shuffle_epi8(rows[i], index));
    }
    sums.low[v] = _mm256_add_epi8(sums.low[v], _mm256_and_si256(count, low));
    sums.mixed[v] = _mm256_add_epi16(sums.mixed[v], _mm256_srli_epi16(count, 4));
    KeepInRegister(&sums.low[v]);
    KeepInRegister(&sums.mixed[v]);
  }
}

// Adds the halves of `sums` to the 16-bit sums of two pixels, [vector][even, odd][16] each.
template <int kVectors>
inline void Flush(const HalfSums<kVectors>& sums, int16_t* first, int16_t* second) {
  const __m256i byte = _mm256_set1_epi16(0x00ff);
  for (int v = 0; v < kVectors; ++v) {
    const __m256i odd = _mm256_srli_epi16(sums.low[v], 8);
    const __m256i high = _mm256_sub_epi16(sums.mixed[v], _mm256_slli_epi16(odd, 4));
    int16_t* a = first + v * kVectorSums;
    int16_t* b = second + v * kVectorSums;
    Store(a, _mm256_add_epi16(Load(a), _mm256_and_si256(sums.low[v], byte)));
    Store(a + 16, _mm256_add_epi16(Load(a + 16), odd));
    Store(b, _mm256_add_epi16(Load(b), _mm256_and_si256(high, byte)));
    Store(b + 16, _mm256_add_epi16(Load(b + 16), _mm256_srli_epi16(high, 8)));
  }
}

// Zero, as sums are stored.
inline void Clear(int16_t* sums, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) Store(sums + i, _mm256_set1_epi16(INT16_MIN));
}

// Adds the counts of `steps` steps to the sums of two pixels.
template <int kPlanes, int kVectors>
void CountChunk(const uint8_t* weights, const uint16_t* offsets, int64_t steps, int16_t* first,
                int16_t* second) {
  constexpr int64_t kStepBytes = int64_t{kStepPieces} * kPlanes * kVectors * kPieceBytes;
  while (steps > 0) {
    HalfSums<kVectors> sums;
    for (int v = 0; v < kVectors; ++v) sums.low[v] = sums.mixed[v] = _mm256_setzero_si256();
    int64_t left = steps < kFlushSteps ? steps : kFlushSteps;
    steps -= left;
    for (; left >= 2; left -= 2) {
      CountStep<kPlanes, kVectors>(weights, offsets, sums);
      CountStep<kPlanes, kVectors>(weights + kStepBytes, offsets + kStepPieces, sums);
      weights += 2 * kStepBytes;
      offsets += 2 * kStepPieces;
    }
    if (left > 0) {
      CountStep<kPlanes, kVectors>(weights, offsets, sums);
      weights += kStepBytes;
      offsets += kStepPieces;
    }
    Flush<kVectors>(sums, first, second);
  }
}

// How the weights of one part of 32 * kVectors channels are cut.
template <int kPlanes, int kVectors>
struct Shape {
  static constexpr int64_t kWordBytes = int64_t{kPieces} * kPlanes * kVectors * kPieceBytes;
  static constexpr int64_t kMaxBytes = kPlanes == 2 ? kTernaryChunkBytes : kChunkBytes;
  static constexpr int64_t kMaxWords = kMaxBytes / kWordBytes / kFlushWords * kFlushWords;
  // Pieces that fill the last step up: all zero.
  static constexpr int64_t kPaddingBytes =
      int64_t{kStepPieces - 1} * kPlanes * kVectors * kPieceBytes;
};

// Weights of words `first` to `first + words - 1` of a part, and zeros behind them.
template <int kPlanes, int kVectors>
void Rearrange(const Part& part, Chunk chunk, uint8_t* pieces) {
  const BconvGroup& group = part.group;
  const uint64_t* weights = group.weights + part.block * group.block_words;
  RearrangeBconvWeightsAvx2(weights + chunk.first * kPlanes * kLanes, kPlanes, group.block_words,
                            part.blocks, chunk.words, kVectors, pieces);
  memset(pieces + chunk.words * Shape<kPlanes, kVectors>::kWordBytes, 0,
         Shape<kPlanes, kVectors>::kPaddingBytes);
}

// All pixels of one part. `prepared`: its rearranged weights, or null.
template <int kPlanes, int kVectors>
void RunPart(const BconvArgs& args, const Part& part, const uint8_t* prepared) {
  using Cut = Shape<kPlanes, kVectors>;
  constexpr int64_t kPixelSums = int64_t{kVectors} * kVectorSums;
  alignas(64) uint8_t rearranged[Cut::kMaxWords * Cut::kWordBytes + Cut::kPaddingBytes];
  // Of the pair that is counted and the next one, whose offsets are then ready in time.
  alignas(64) uint16_t offsets[2][(Cut::kMaxWords + 1) * kPieces];
  int32_t scratch[Cut::kMaxWords];
  alignas(64) int16_t waiting[kTilePixels * kPixelSums];
  BconvPixel list[kTilePixels];
  BconvLookupLimits limits;
  limits.table_row = -1;

  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int64_t window_words = part.group.words;
  // One chunk of nothing where no word counts.
  const int64_t chunks =
      window_words > 0 ? (window_words + Cut::kMaxWords - 1) / Cut::kMaxWords : 1;
  const int64_t flushes = (window_words + kFlushWords - 1) / kFlushWords;
  const int64_t chunk_words = (flushes + chunks - 1) / chunks * kFlushWords;
  const int32_t* places = nullptr;
  for (int64_t tile = 0; tile < pixels; tile += kTilePixels) {
    const int64_t tile_pixels = pixels - tile < kTilePixels ? pixels - tile : kTilePixels;
    ListBconvPixels(args, tile, tile_pixels, list);
    // The last pair is filled up with a pixel whose result is not stored.
    if (tile_pixels % 2 != 0) list[tile_pixels] = list[0];
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t first = c * chunk_words;
      const int64_t left = window_words - first;
      const Chunk chunk = {first, left < chunk_words ? left : chunk_words};
      const int64_t steps = (chunk.words * kPieces + kStepPieces - 1) / kStepPieces;
      if (tile == 0 || chunks > 1) {
        if (prepared == nullptr) Rearrange<kPlanes, kVectors>(part, chunk, rearranged);
        places = BconvPlacesOf(part.group, chunk.first, chunk.words, scratch);
      }
      const uint8_t* weights =
          prepared != nullptr ? prepared + first * Cut::kWordBytes : rearranged;
      PieceOffsets<kPlanes>(list, places, chunk.words, offsets[0]);
      for (int64_t i = 0; i < tile_pixels; i += 2) {
        const int64_t next = i + 2 < tile_pixels ? i + 2 : i;
        PieceOffsets<kPlanes>(list + next, places, chunk.words, offsets[(i / 2 + 1) % 2]);
        int16_t* sums = waiting + i * kPixelSums;
        if (first == 0) Clear(sums, 2 * kPixelSums);
        CountChunk<kPlanes, kVectors>(weights, offsets[i / 2 % 2], steps, sums, sums + kPixelSums);
        if (left > chunk_words) continue;
        for (int64_t p = i; p < i + 2 && p < tile_pixels; ++p) {
          StoreBconvLookupAvx2(args, list[p], part.first_block(), part.blocks,
                               waiting + p * kPixelSums, &limits);
        }
      }
    }
  }
}

template <int kPlanes, int kVectors>
int64_t PartBytes(const BconvGroup& group) {
  using Cut = Shape<kPlanes, kVectors>;
  return group.words * Cut::kWordBytes + Cut::kPaddingBytes;
}

// Calls of one part each, all parts in turn.
struct RunCall {
  template <int kPlanes, int kVectors>
  void Do(const BconvArgs& args, const Part& part) {
    RunPart<kPlanes, kVectors>(args, part, prepared);
    if (prepared != nullptr) prepared += PartBytes<kPlanes, kVectors>(part.group);
  }
  const uint8_t* prepared;
};

struct PrepareCall {
  template <int kPlanes, int kVectors>
  void Do(const BconvArgs&, const Part& part) {
    if (prepared != nullptr) {
      Rearrange<kPlanes, kVectors>(part, Chunk{0, part.group.words}, prepared + bytes);
    }
    bytes += PartBytes<kPlanes, kVectors>(part.group);
  }
  uint8_t* prepared;  // null: only count bytes
  int64_t bytes;
};

template <int kPlanes, typename Call>
void ForParts(const BconvArgs& args, const BconvGroup& group, Call& call) {
  // Six rows of ternary tables leave registers for two vectors.
  constexpr int64_t kMaxBlocks = (kPlanes == 2 ? 2 : 4) * kVectorBlocks;
  const int64_t blocks = (group.channels + kLanes - 1) / kLanes;
  for (int64_t block = 0; block < blocks; block += kMaxBlocks) {
    const int64_t left = blocks - block < kMaxBlocks ? blocks - block : kMaxBlocks;
    const Part part = {group, block, left};
    if (left > 3 * kVectorBlocks) {
      call.template Do<kPlanes, kMaxBlocks / kVectorBlocks>(args, part);
    } else if (left > 2 * kVectorBlocks) {
      call.template Do<kPlanes, 3>(args, part);
    } else if (left > kVectorBlocks) {
      call.template Do<kPlanes, 2>(args, part);
    } else {
      call.template Do<kPlanes, 1>(args, part);
    }
  }
}

template <typename Call>
void ForAllParts(const BconvArgs& args, Call& call) {
  const int64_t groups = BconvGroupCount(args);
  for (int64_t g = 0; g < groups; ++g) {
    if (args.planes == 2) {
      ForParts<2>(args, BconvGroupOf(args, g), call);
    } else {
      ForParts<1>(args, BconvGroupOf(args, g), call);
    }
  }
}

}  // namespace

void BconvLookupAvx2(const BconvArgs& args, const uint8_t* pieces) {
  RunCall call = {pieces};
  ForAllParts(args, call);
}

int64_t BconvLookupBytesAvx2(const BconvArgs& args) {
  PrepareCall call = {nullptr, 0};
  ForAllParts(args, call);
  return call.bytes;
}

void PrepareBconvLookupAvx2(const BconvArgs& args, uint8_t* pieces) {
  PrepareCall call = {pieces, 0};
  ForAllParts(args, call);
}

}  // namespace bitmill
