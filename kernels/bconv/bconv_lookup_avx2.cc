// Popcounts looked up: a byte of 16 entries holds popcount(a xor w) for one 4-bit piece a of the
// activations and all sixteen w, so one vpshufb with weights as indices counts 4 bits of 32 output
// channels. The table of a piece is a row of a constant of 256 bytes; nothing is built.
//
// Tile: 4 pixels x 64 output channels, 8 accumulators of 32 bytes. A step of 4 bits loads 2 vectors
// of weights and 4 tables for 8 lookups and 8 additions: 1,024 products in 4 cycles on two shuffle
// ports, 256 MAC a cycle at best (xor and popcount by bytes reach 128). Byte sums are moved to 16
// bits every 3 words (3 * 64 < 256). One plane only.
//
// Weights are stored for 64-bit lanes; here a lane is a byte. They are rearranged a chunk of words
// at a time into a buffer that stays in the first-level cache, for a whole tile of pixels (all of
// them when one chunk is enough): 176 operations a word, against 64 a word for each pixel.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

constexpr int kLanes = 8;         // of a block of weights
constexpr int kVectorBlocks = 4;  // blocks in a vector of bytes
constexpr int kVectorChannels = 32;
constexpr int kPixels = 4;       // that share a load of weights
constexpr int kPieces = 16;      // of 4 bits in a word
constexpr int kPieceBytes = 32;  // of rearranged weights, one vector
constexpr int kWordsPerFlush = 3;
constexpr int64_t kChunkBytes = 20 * 1024;  // of rearranged weights
constexpr int64_t kTilePixels = 128;        // whose sums wait for further chunks

struct alignas(64) LookupTable {
  uint8_t row[16][16];
};

constexpr LookupTable MakeTable() {
  LookupTable table{};
  for (int a = 0; a < 16; ++a) {
    for (int w = 0; w < 16; ++w) {
      const int bits = a ^ w;
      table.row[a][w] =
          static_cast<uint8_t>((bits & 1) + (bits >> 1 & 1) + (bits >> 2 & 1) + (bits >> 3 & 1));
    }
  }
  return table;
}

constexpr LookupTable kTable = MakeTable();

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

struct Group {
  int64_t first_block, blocks;
};

// Where pixel p's table offsets lie among the 64 bytes of a word.
constexpr int kOffsetOf[kPixels] = {0, 32, 16, 48};

// Table offsets (16 * piece) of 4 pixels, [word][64 bytes].
void PieceOffsets(const BconvArgs& args, const BconvPixel* pixels, Chunk chunk, uint8_t* offsets) {
  const __m256i high = _mm256_set1_epi8(static_cast<char>(0xf0));
  int64_t tap = chunk.first / args.c_words;
  int64_t word = chunk.first % args.c_words;
  for (int64_t w = 0; w < chunk.words; ++w) {
    const int64_t at = args.tap_words[tap] + word;
    const __m256i bits = _mm256_setr_epi64x(
        static_cast<int64_t>(pixels[0].window[at]), static_cast<int64_t>(pixels[1].window[at]),
        static_cast<int64_t>(pixels[2].window[at]), static_cast<int64_t>(pixels[3].window[at]));
    const __m256i even = _mm256_and_si256(_mm256_slli_epi16(bits, 4), high);
    const __m256i odd = _mm256_and_si256(bits, high);
    Store(offsets + w * 64, _mm256_unpacklo_epi8(even, odd));       // pixels 0 and 2
    Store(offsets + w * 64 + 32, _mm256_unpackhi_epi8(even, odd));  // pixels 1 and 3
    if (++word == args.c_words) {
      word = 0;
      ++tap;
    }
  }
}

inline __m256i TableRow(uint8_t offset) {
  const uint8_t* row = kTable.row[0] + offset;
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(row)));
}

// Stops the compiler from turning the chain of additions into a tree, whose leaves would not fit
// into registers.
inline void KeepInRegister(__m256i* value) { __asm__("" : "+x"(*value)); }

// Adds the counts of one piece of 4 bits to the byte sums.
template <int kVectors>
inline void CountPiece(const uint8_t* weights, const uint8_t* offsets,
                       __m256i (&sums)[kPixels][kVectors]) {
  __m256i index[kVectors];
  for (int v = 0; v < kVectors; ++v) index[v] = Load(weights + v * kPieceBytes);
  for (int p = 0; p < kPixels; ++p) {
    const __m256i row = TableRow(offsets[kOffsetOf[p]]);
    for (int v = 0; v < kVectors; ++v) {
      sums[p][v] = _mm256_add_epi8(sums[p][v], _mm256_shuffle_epi8(row, index[v]));
      KeepInRegister(&sums[p][v]);
    }
  }
}

// Unrolled by hand: the addresses of a word become constants.
template <int kVectors, int kPiece = 0>
inline __attribute__((always_inline)) void CountWord(const uint8_t* weights, const uint8_t* offsets,
                                                     __m256i (&sums)[kPixels][kVectors]) {
  if constexpr (kPiece < kPieces) {
    CountPiece<kVectors>(weights + kPiece * kVectors * kPieceBytes, offsets + kPiece, sums);
    CountWord<kVectors, kPiece + 1>(weights, offsets, sums);
  }
}

// Adds the counts of `words` words (at most kWordsPerFlush) to the byte sums.
template <int kVectors>
inline void CountWords(const uint8_t* weights, const uint8_t* offsets, int64_t words,
                       __m256i (&sums)[kPixels][kVectors]) {
  for (int64_t w = 0; w < words; ++w) {
    CountWord<kVectors>(weights, offsets, sums);
    weights += kPieces * kVectors * kPieceBytes;
    offsets += kPixels * kPieces;
  }
}

// 16-bit sums of one pixel: blocks 0 and 2 of a vector, then 1 and 3.
template <int kVectors>
struct PixelSums {
  __m256i even[kVectors], odd[kVectors];
};

template <int kVectors>
void CountChunk(const uint8_t* weights, const uint8_t* offsets, int64_t words,
                PixelSums<kVectors>* sums) {
  const __m256i low = _mm256_set1_epi16(0x00ff);
  for (int64_t w = 0; w < words; w += kWordsPerFlush) {
    __m256i bytes[kPixels][kVectors];
    for (int p = 0; p < kPixels; ++p) {
      for (int v = 0; v < kVectors; ++v) bytes[p][v] = _mm256_setzero_si256();
    }
    const int64_t left = words - w;
    CountWords<kVectors>(weights, offsets, left < kWordsPerFlush ? left : kWordsPerFlush, bytes);
    weights += int64_t{kWordsPerFlush} * kPieces * kVectors * kPieceBytes;
    offsets += int64_t{kWordsPerFlush} * kPixels * kPieces;
    for (int p = 0; p < kPixels; ++p) {
      for (int v = 0; v < kVectors; ++v) {
        sums[p].even[v] = _mm256_add_epi16(sums[p].even[v], _mm256_and_si256(bytes[p][v], low));
        sums[p].odd[v] = _mm256_add_epi16(sums[p].odd[v], _mm256_srli_epi16(bytes[p][v], 8));
      }
    }
  }
}

// Limits plus one of a group, clamped to 16 bits without a sign and in the order of PixelSums.
// Sums are at most 64 * kBconvLookupMaxWords, so nothing is lost.
template <int kVectors>
struct GroupLimits {
  int64_t table_row = -1;
  PixelSums<kVectors> limits = {};
};

inline __m256i LoadLimit(const int32_t* limits, bool present) {
  if (!present) return _mm256_set1_epi32(0xffff);
  const __m256i limit = _mm256_min_epi32(Load(limits), _mm256_set1_epi32(0xfffe));
  return _mm256_add_epi32(limit, _mm256_set1_epi32(1));
}

template <int kVectors>
void LoadLimits(const BconvArgs& args, Group group, int64_t table_row,
                GroupLimits<kVectors>* limits) {
  if (limits->table_row == table_row) return;
  limits->table_row = table_row;
  const int32_t* row = args.limits + table_row + group.first_block * kLanes;
  for (int v = 0; v < kVectors; ++v) {
    __m256i block[kVectorBlocks];
    for (int b = 0; b < kVectorBlocks; ++b) {
      const int64_t index = v * kVectorBlocks + b;
      const bool present = index < group.blocks;
      block[b] = LoadLimit(present ? row + index * kLanes : row, present);
    }
    // packus works in halves of 4 numbers; the permutation puts them in order.
    limits->limits.even[v] =
        _mm256_permute4x64_epi64(_mm256_packus_epi32(block[0], block[2]), 0xd8);
    limits->limits.odd[v] = _mm256_permute4x64_epi64(_mm256_packus_epi32(block[1], block[3]), 0xd8);
  }
}

template <int kVectors>
void StoreBits(const BconvArgs& args, Group group, const BconvPixel& pixel,
               const PixelSums<kVectors>& sums, GroupLimits<kVectors>* limits) {
  LoadLimits<kVectors>(args, group, pixel.table_row, limits);
  const __m256i one = _mm256_set1_epi16(1);
  const __m256i zero = _mm256_setzero_si256();
  const int64_t first = group.first_block * kLanes;
  for (int v = 0; v < kVectors; ++v) {
    const int64_t left = args.out_channels - first - v * kVectorChannels;
    if (left <= 0) return;
    const __m256i even =
        _mm256_subs_epu16(_mm256_add_epi16(sums.even[v], one), limits->limits.even[v]);
    const __m256i odd =
        _mm256_subs_epu16(_mm256_add_epi16(sums.odd[v], one), limits->limits.odd[v]);
    const __m256i clear =
        _mm256_packs_epi16(_mm256_cmpeq_epi16(even, zero), _mm256_cmpeq_epi16(odd, zero));
    uint32_t bits = ~static_cast<uint32_t>(_mm256_movemask_epi8(clear));
    uint8_t* out = args.out_bits + pixel.out + (first + v * kVectorChannels) / 8;
    if (left >= kVectorChannels) {
      memcpy(out, &bits, sizeof(bits));
      continue;
    }
    bits &= (uint32_t{1} << left) - 1;
    for (int64_t byte = 0; byte * 8 < left; ++byte) {
      out[byte] = static_cast<uint8_t>(bits >> (8 * byte));
    }
  }
}

inline __m256i LaneMask(int64_t lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(lanes)), index);
}

void StoreBlock(const BconvArgs& args, const BconvPixel& pixel, int64_t channel, __m128i counts) {
  const int64_t left = args.out_channels - channel;
  const __m256i x = _mm256_cvtepu16_epi32(counts);
  const __m256i base = Load(args.base + pixel.table_row + channel);
  const __m256i acc = _mm256_sub_epi32(base, _mm256_add_epi32(x, x));
  if (args.out_int32 != nullptr) {
    int32_t* out = args.out_int32 + pixel.out + channel;
    if (left >= kLanes) {
      Store(out, acc);
    } else {
      _mm256_maskstore_epi32(out, LaneMask(left), acc);
    }
    return;
  }
  const __m256 scaled =
      _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(args.scale + channel));
  const __m256 value = _mm256_add_ps(scaled, _mm256_loadu_ps(args.bias + channel));
  float* out = args.out_float + pixel.out + channel;
  if (left >= kLanes) {
    _mm256_storeu_ps(out, value);
  } else {
    _mm256_maskstore_ps(out, LaneMask(left), value);
  }
}

template <int kVectors>
void StoreNumbers(const BconvArgs& args, Group group, const BconvPixel& pixel,
                  const PixelSums<kVectors>& sums) {
  for (int64_t block = 0; block < group.blocks; ++block) {
    const int64_t v = block / kVectorBlocks;
    const __m256i pair = block % 2 == 0 ? sums.even[v] : sums.odd[v];
    const __m128i counts = block % kVectorBlocks < 2 ? _mm256_castsi256_si128(pair)
                                                     : _mm256_extracti128_si256(pair, 1);
    StoreBlock(args, pixel, (group.first_block + block) * kLanes, counts);
  }
}

// All pixels of one group of 32 * kVectors channels.
template <int kVectors>
void RunGroup(const BconvArgs& args, Group group) {
  constexpr int64_t kWordBytes = int64_t{kPieces} * kVectors * kPieceBytes;
  constexpr int64_t kMaxWords = kChunkBytes / kWordBytes;
  alignas(32) uint8_t weights[kMaxWords * kWordBytes];
  alignas(32) uint8_t offsets[kMaxWords * kPixels * kPieces];
  PixelSums<kVectors> waiting[kTilePixels];
  BconvPixel list[kTilePixels];

  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int64_t window_words = int64_t{args.taps} * args.c_words;
  const int64_t chunks = (window_words + kMaxWords - 1) / kMaxWords;
  const int64_t chunk_words = (window_words + chunks - 1) / chunks;
  GroupLimits<kVectors> limits;
  for (int64_t tile = 0; tile < pixels; tile += kTilePixels) {
    const int64_t tile_pixels = pixels - tile < kTilePixels ? pixels - tile : kTilePixels;
    ListBconvPixels(args, tile, tile_pixels, list);
    // The last set of 4 is filled up with a pixel whose result is not stored.
    for (int64_t i = tile_pixels; i % kPixels != 0; ++i) list[i] = list[0];
    for (int64_t first = 0; first < window_words; first += chunk_words) {
      const int64_t left = window_words - first;
      const Chunk chunk = {first, left < chunk_words ? left : chunk_words};
      if (tile == 0 || chunks > 1) {
        const int64_t first_word = group.first_block * window_words + first;
        RearrangeBconvWeightsAvx2(args.weights + first_word * kLanes, window_words * kLanes,
                                  group.blocks, chunk.words, kVectors, weights);
      }
      for (int64_t i = 0; i < tile_pixels; i += kPixels) {
        PieceOffsets(args, list + i, chunk, offsets);
        PixelSums<kVectors>* sums = waiting + i;
        if (first == 0) memset(static_cast<void*>(sums), 0, kPixels * sizeof(sums[0]));
        CountChunk<kVectors>(weights, offsets, chunk.words, sums);
        if (left > chunk_words) continue;
        for (int64_t p = i; p < i + kPixels && p < tile_pixels; ++p) {
          if (args.out_bits != nullptr) {
            StoreBits<kVectors>(args, group, list[p], waiting[p], &limits);
          } else {
            StoreNumbers<kVectors>(args, group, list[p], waiting[p]);
          }
        }
      }
    }
  }
}

}  // namespace

void BconvLookupAvx2(const BconvArgs& args) {
  const int64_t blocks = (int64_t{args.out_channels} + kLanes - 1) / kLanes;
  int64_t block = 0;
  while (block < blocks) {
    const int64_t left = blocks - block;
    if (left > kVectorBlocks) {
      const int64_t count = left < 2 * kVectorBlocks ? left : 2 * kVectorBlocks;
      RunGroup<2>(args, {block, count});
      block += count;
    } else {
      RunGroup<1>(args, {block, left});
      block += left;
    }
  }
}

}  // namespace bitmill
