// Carry-save addition, for AVX-512 without vpopcntq: vpternlog makes a full adder of 64-bit lanes
// from two operations, and a tree of seven adders turns eight words into bits of weight 1, 2, 4 and
// 8 (the Harley-Seal method, doi:10.1093/comjnl/bxx046). Only the eights are counted, by two
// lookups a byte, every eight words.
//
// Eight words of one block and pixel take 8 xor, 14 vpternlog and 7 operations to count: 29 on two
// 512-bit ports, 14.5 cycles for 4,096 products, 282 MAC a cycle. Two pixels share the weights.
// Words past a multiple of eight are counted one by one, 8 operations each. A lane is an output
// channel, so nothing is summed across lanes; vpsadbw adds the bytes of a lane.
//
// Windows of few words have mostly such leftovers, and counts to store: the lookup of AVX2 takes
// half the time for 9 words and 0.7 of it for 36 (Zen 4 without its vpopcntq; ternary 0.7
// and 1.03).
#include <immintrin.h>
#include <stdint.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvAvx512(const BconvArgs& args);
void BconvAvx2(const BconvArgs& args);

namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kTilePixels = 2;
constexpr int64_t kListPixels = 128;
constexpr int64_t kGroupWords = 8;       // of one carry-save tree
constexpr int64_t kGroupsPerFlush = 31;  // 31 * 8 bits in a byte
// Whose places are listed at a time. A list of 4 KiB would share address bits with the counts that
// lie behind it, and its loads wait for their stores.
constexpr int64_t kChunkWords = 768;
constexpr int kSum = 0x96;                // first xor second xor third
constexpr int kCarry = 0xe8;              // at least two of three
constexpr int kMaskAndDifference = 0x60;  // first and (second xor third)

// Set bits of each byte.
inline __m512i ByteCounts(__m512i bits) {
  const __m512i counts =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m512i low = _mm512_set1_epi8(0x0f);
  const __m512i even = _mm512_shuffle_epi8(counts, _mm512_and_si512(bits, low));
  const __m512i odd =
      _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi16(bits, 4), low));
  return _mm512_add_epi8(even, odd);
}

inline __m512i SumBytes(__m512i bytes) { return _mm512_sad_epu8(bytes, _mm512_setzero_si512()); }

// *low becomes the sum without carries of low, a and b; returns the carries.
inline __m512i AddBits(__m512i* low, __m512i a, __m512i b) {
  const __m512i carry = _mm512_ternarylogic_epi64(*low, a, b, kCarry);
  *low = _mm512_ternarylogic_epi64(*low, a, b, kSum);
  return carry;
}

template <int kPlanes>
inline __m512i Differences(uint64_t activation, const uint64_t* weights) {
  const __m512i a = _mm512_set1_epi64(static_cast<int64_t>(activation));
  const __m512i w = _mm512_loadu_si512(weights);
  if constexpr (kPlanes == 2) {
    return _mm512_ternarylogic_epi64(w, a, _mm512_loadu_si512(weights + kLanes),
                                     kMaskAndDifference);
  } else {
    return _mm512_xor_si512(a, w);
  }
}

struct Counter {
  __m512i ones, twos, fours;
  __m512i eights;  // counted, in bytes
  __m512i total;   // in 64-bit lanes
};

inline void Flush(Counter* counter) {
  const __m512i eights = _mm512_slli_epi64(SumBytes(counter->eights), 3);
  counter->total = _mm512_add_epi64(counter->total, eights);
  counter->eights = _mm512_setzero_si512();
}

// Adds words i and i + 1 of each pixel to the ones; returns their carries in `twos`.
template <int kPlanes, int kPixels>
inline void AddPair(const BconvPixel* pixels, const int32_t* places, const uint64_t* weights,
                    Counter* counters, __m512i* twos) {
  const int64_t first = places[0];
  const int64_t second = places[1];
  for (int p = 0; p < kPixels; ++p) {
    const __m512i a = Differences<kPlanes>(pixels[p].window[first], weights);
    const __m512i b = Differences<kPlanes>(pixels[p].window[second], weights + kPlanes * kLanes);
    twos[p] = AddBits(&counters[p].ones, a, b);
  }
}

// Eight words of each pixel. Pixels take turns, so that a place serves all of them at once.
template <int kPlanes, int kPixels>
inline void CountGroup(const BconvPixel* pixels, const int32_t* places, const uint64_t* weights,
                       Counter* counters) {
  constexpr int64_t kPairWords = 2 * kPlanes * kLanes;
  __m512i fours[2][kPixels];
  for (int half = 0; half < 2; ++half) {
    __m512i twos[2][kPixels];
    for (int pair = 0; pair < 2; ++pair) {
      const int first = half * 2 + pair;
      AddPair<kPlanes, kPixels>(pixels, places + first * 2, weights + first * kPairWords, counters,
                                twos[pair]);
    }
    for (int p = 0; p < kPixels; ++p) {
      fours[half][p] = AddBits(&counters[p].twos, twos[0][p], twos[1][p]);
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    const __m512i eights = AddBits(&counters[p].fours, fours[0][p], fours[1][p]);
    counters[p].eights = _mm512_add_epi8(counters[p].eights, ByteCounts(eights));
  }
}

// Adds the differences of `words` words at `places` to counts[pixel][8].
template <int kPlanes, int kPixels>
void CountWords(const BconvPixel* pixels, const int32_t* places, int64_t words,
                const uint64_t* weights, uint64_t* counts) {
  const __m512i zero = _mm512_setzero_si512();
  Counter counters[kPixels];
  for (int p = 0; p < kPixels; ++p) counters[p] = {zero, zero, zero, zero, zero};
  int64_t w = 0;
  int64_t until_flush = kGroupsPerFlush;
  for (; w + kGroupWords <= words; w += kGroupWords) {
    CountGroup<kPlanes, kPixels>(pixels, places + w, weights, counters);
    weights += kGroupWords * kPlanes * kLanes;
    if (--until_flush == 0) {
      for (int p = 0; p < kPixels; ++p) Flush(&counters[p]);
      until_flush = kGroupsPerFlush;
    }
  }
  for (int p = 0; p < kPixels; ++p) {
    Counter& c = counters[p];
    Flush(&c);
    // At most 8 + 2 * 8 + 4 * 8 + 7 * 8 in a byte.
    const __m512i twos = ByteCounts(c.twos);
    const __m512i fours = ByteCounts(c.fours);
    __m512i bytes = _mm512_add_epi8(ByteCounts(c.ones), _mm512_add_epi8(twos, twos));
    bytes = _mm512_add_epi8(bytes, _mm512_slli_epi16(fours, 2));
    for (int64_t i = w; i < words; ++i) {
      bytes = _mm512_add_epi8(
          bytes, ByteCounts(Differences<kPlanes>(pixels[p].window[places[i]],
                                                 weights + (i - w) * kPlanes * kLanes)));
    }
    const __m512i total = _mm512_add_epi64(c.total, SumBytes(bytes));
    uint64_t* count = counts + p * kLanes;
    _mm512_storeu_si512(count, _mm512_add_epi64(_mm512_loadu_si512(count), total));
  }
}

// All listed pixels and all channels of a group. Chunks of the window follow each other within a
// tile; a window of one chunk has its places listed once.
template <int kPlanes>
void RunPixels(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count,
               const BconvGroup& group) {
  int32_t scratch[kChunkWords];
  const int32_t* places = nullptr;
  const bool one_chunk = group.words <= kChunkWords;
  if (one_chunk) places = BconvPlacesOf(group, 0, group.words, scratch);
  for (int64_t channel = 0; channel < group.channels; channel += kLanes) {
    const uint64_t* weights = group.weights + channel / kLanes * group.block_words;
    for (int64_t p = 0; p < pixel_count; p += kTilePixels) {
      const int64_t tile = pixel_count - p < kTilePixels ? pixel_count - p : kTilePixels;
      alignas(64) uint64_t counts[kTilePixels * kLanes] = {};
      for (int64_t first = 0; first < group.words; first += kChunkWords) {
        const int64_t left = group.words - first;
        const int64_t chunk = left < kChunkWords ? left : kChunkWords;
        if (!one_chunk) places = BconvPlacesOf(group, first, chunk, scratch);
        const uint64_t* part = weights + first * kPlanes * kLanes;
        if (tile == kTilePixels) {
          CountWords<kPlanes, kTilePixels>(pixels + p, places, chunk, part, counts);
        } else {
          CountWords<kPlanes, 1>(pixels + p, places, chunk, part, counts);
        }
      }
      StoreBconvTileAvx512(args, pixels + p, tile, group.channel + channel, 1, counts);
    }
  }
}

}  // namespace

void BconvAvx512(const BconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  // Prepared weights are the lookup's.
  if (BconvLooksUpAvx512(args) || (args.prepared != nullptr && pixels > 1)) return BconvAvx2(args);
  const int64_t groups = BconvGroupCount(args);
  BconvPixel list[kListPixels];
  for (int64_t first = 0; first < pixels; first += kListPixels) {
    const int64_t count = pixels - first < kListPixels ? pixels - first : kListPixels;
    ListBconvPixels(args, first, count, list);
    for (int64_t g = 0; g < groups; ++g) {
      const BconvGroup group = BconvGroupOf(args, g);
      if (args.planes == 2) {
        RunPixels<2>(args, list, count, group);
      } else {
        RunPixels<1>(args, list, count, group);
      }
    }
  }
}

}  // namespace bitmill
