// Tiles in registers: 8 x 8 words or 16 x 16 bytes, by rounds of interleaving. Where the matrix is
// no multiple of the tile, the last tiles lie over their neighbours and write the same again.
// Tiles go down the rows first, so that what is written is whole lines of the destination.
#include <immintrin.h>
#include <string.h>

#include "kernels/transpose/transpose.h"

namespace bitmill {
namespace {

struct WordTile {
  using Element = uint32_t;
  static constexpr int64_t kSide = 8;

  static void Run(const uint32_t* src, int64_t src_stride, uint32_t* dst, int64_t dst_stride) {
    __m256 rows[8];
    for (int i = 0; i < 8; ++i) {
      rows[i] = _mm256_loadu_ps(reinterpret_cast<const float*>(src + i * src_stride));
    }
    __m256 pairs[8];
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    __m256 fours[8];
    for (int i = 0; i < 8; i += 4) {
      fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
      fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
      fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
      fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_ps(reinterpret_cast<float*>(dst + i * dst_stride),
                       _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20));
      _mm256_storeu_ps(reinterpret_cast<float*>(dst + (i + 4) * dst_stride),
                       _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31));
    }
  }
};

struct ByteTile {
  using Element = uint8_t;
  static constexpr int64_t kSide = 16;

  // Interleaving row i with row i + 8, four times over, is the transposition.
  static void Run(const uint8_t* src, int64_t src_stride, uint8_t* dst, int64_t dst_stride) {
    __m128i rows[16];
    for (int i = 0; i < 16; ++i) {
      rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i * src_stride));
    }
    for (int round = 0; round < 4; ++round) {
      __m128i next[16];
      for (int i = 0; i < 8; ++i) {
        next[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + 8]);
        next[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 8]);
      }
      for (int i = 0; i < 16; ++i) rows[i] = next[i];
    }
    for (int i = 0; i < 16; ++i) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i * dst_stride), rows[i]);
    }
  }
};

template <typename Tile>
void Transpose(const TransposeArgs& args) {
  using Element = typename Tile::Element;
  const auto* const src = static_cast<const Element*>(args.src);
  auto* const dst = static_cast<Element*>(args.dst);
  constexpr int64_t kSide = Tile::kSide;
  if (args.rows < kSide || args.columns < kSide) {
    for (int64_t c = 0; c < args.columns; ++c) {
      for (int64_t r = 0; r < args.rows; ++r) {
        memcpy(dst + c * args.dst_stride + r, src + r * args.src_stride + c, sizeof(Element));
      }
    }
    return;
  }
  for (int64_t column = 0; column < args.columns; column += kSide) {
    const int64_t c = column + kSide <= args.columns ? column : args.columns - kSide;
    for (int64_t row = 0; row < args.rows; row += kSide) {
      const int64_t r = row + kSide <= args.rows ? row : args.rows - kSide;
      Tile::Run(src + r * args.src_stride + c, args.src_stride, dst + c * args.dst_stride + r,
                args.dst_stride);
    }
  }
}

}  // namespace

void TransposeBytesAvx2(const TransposeArgs& args) { Transpose<ByteTile>(args); }
void TransposeWordsAvx2(const TransposeArgs& args) { Transpose<WordTile>(args); }

}  // namespace bitmill
