// Weights of 64-bit lanes (kernels/bconv/bconv.h) into vectors of byte lanes for the lookup: an 8 x
// 8 transposition of pairs of bytes, then the two halves of each byte apart. 88 operations for a
// word of 32 channels.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

constexpr int kLanes = 8;                      // of a block of weights
constexpr int kVectorBlocks = 4;               // blocks in a vector of bytes
constexpr int kPieces = 16;                    // of 4 bits in a word
constexpr int kPieceBytes = 32;                // one vector
constexpr uint64_t kNoBlock[2 * kLanes] = {};  // weights of blocks past the last

enum class WeightBits { kSigns, kPlus, kMinus };

inline void Store(void* data, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(data), value);
}

inline __m128i LoadPair(const uint64_t* words) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
}

// Two words of one block: weights, or (ternary: a mask, then signs) one sign of those that count.
template <WeightBits kBits>
inline __m128i LoadBits(const uint64_t* words) {
  if constexpr (kBits == WeightBits::kPlus) {
    return _mm_andnot_si128(LoadPair(words + kLanes), LoadPair(words));
  } else if constexpr (kBits == WeightBits::kMinus) {
    return _mm_and_si128(LoadPair(words + kLanes), LoadPair(words));
  } else {
    return LoadPair(words);
  }
}

// Bytes 0 to 15 from `low`, 16 to 31 from `high`.
template <WeightBits kBits>
inline __m256i LoadHalves(const uint64_t* low, const uint64_t* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(LoadBits<kBits>(low)),
                                 LoadBits<kBits>(high), 1);
}

// Four blocks of [8 channels][8 bytes] become 8 rows (one for each byte of the word) of 32
// channels: blocks 0 and 1 alternate in the first 16 bytes, 2 and 3 in the others, so that even
// and odd bytes, taken apart as 16-bit numbers, are whole blocks.
template <WeightBits kBits>
inline void TransposeBytes(const uint64_t* const* blocks, __m256i* rows) {
  __m256i c[8];  // by channel: 8 pairs of bytes in each half
  for (int i = 0; i < 4; ++i) {
    const __m256i a = LoadHalves<kBits>(blocks[0] + 2 * i, blocks[2] + 2 * i);
    const __m256i b = LoadHalves<kBits>(blocks[1] + 2 * i, blocks[3] + 2 * i);
    c[2 * i] = _mm256_unpacklo_epi8(a, b);
    c[2 * i + 1] = _mm256_unpackhi_epi8(a, b);
  }
  __m256i pairs[8], quads[8];
  for (int i = 0; i < 4; ++i) {
    pairs[i] = _mm256_unpacklo_epi16(c[2 * i], c[2 * i + 1]);      // bytes 0 to 3
    pairs[i + 4] = _mm256_unpackhi_epi16(c[2 * i], c[2 * i + 1]);  // bytes 4 to 7
  }
  for (int half = 0; half < 8; half += 4) {
    quads[half] = _mm256_unpacklo_epi32(pairs[half], pairs[half + 1]);
    quads[half + 1] = _mm256_unpackhi_epi32(pairs[half], pairs[half + 1]);
    quads[half + 2] = _mm256_unpacklo_epi32(pairs[half + 2], pairs[half + 3]);
    quads[half + 3] = _mm256_unpackhi_epi32(pairs[half + 2], pairs[half + 3]);
    rows[half] = _mm256_unpacklo_epi64(quads[half], quads[half + 2]);
    rows[half + 1] = _mm256_unpackhi_epi64(quads[half], quads[half + 2]);
    rows[half + 2] = _mm256_unpacklo_epi64(quads[half + 1], quads[half + 3]);
    rows[half + 3] = _mm256_unpackhi_epi64(quads[half + 1], quads[half + 3]);
  }
}

// Low and high 4 bits of each row to pieces[byte] and pieces[8 + byte]; `stride` bytes from piece
// to piece.
inline void StorePieces(const __m256i* rows, uint8_t* pieces, int64_t stride) {
  const __m256i low = _mm256_set1_epi8(0x0f);
  for (int k = 0; k < 8; ++k) {
    Store(pieces + k * stride, _mm256_and_si256(rows[k], low));
    Store(pieces + (8 + k) * stride, _mm256_and_si256(_mm256_srli_epi16(rows[k], 4), low));
  }
}

}  // namespace

void RearrangeBconvWeightsAvx2(const uint64_t* weights, int32_t planes, int64_t block_words,
                               int64_t blocks, int64_t words, int64_t vectors, uint8_t* pieces) {
  const int64_t stride = planes * vectors * kPieceBytes;
  for (int64_t v = 0; v < vectors; ++v) {
    for (int64_t w = 0; w < words; ++w) {
      const uint64_t* here[kVectorBlocks];
      for (int64_t b = 0; b < kVectorBlocks; ++b) {
        const int64_t block = v * kVectorBlocks + b;
        here[b] = block < blocks ? weights + block * block_words + w * planes * kLanes : kNoBlock;
      }
      uint8_t* out = pieces + w * kPieces * stride + v * kPieceBytes;
      __m256i rows[8];
      if (planes == 2) {
        TransposeBytes<WeightBits::kPlus>(here, rows);
        StorePieces(rows, out, stride);
        TransposeBytes<WeightBits::kMinus>(here, rows);
        StorePieces(rows, out + vectors * kPieceBytes, stride);
      } else {
        TransposeBytes<WeightBits::kSigns>(here, rows);
        StorePieces(rows, out, stride);
      }
    }
  }
}

}  // namespace bitmill
