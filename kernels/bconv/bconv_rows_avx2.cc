// One pixel (a matrix times a vector) by adding rows of weights. A row holds the sign of one input
// for 512 output channels, a bit each, and lies in one cache line. With S the inputs of -1,
//
//   x = sum over S of (1 - w) + sum over the others of w = |S| + W - 2 * (sum over S of w),
//
// where W, the set bits of a channel's weights, is stored beside them. So only the rows of S are
// read: about half of the weights.
//
// Rows are added bit by bit: a full adder takes 5 operations for 256 channels, and n rows take
// about n of them; so 32 bytes of weights cost 2.5 operations on average, where counting the
// differences of each channel takes 8. Carries of 16 rows are kept until there are three of one
// weight, like the digits of a binary counter. In the end the bits of a channel's sum, one in each
// of up to 15 vectors, are transposed into 16-bit numbers.
//
// What binds is the cache behind the first: prefetchers fetch the skipped lines too, so weights
// from the third level come at its rate of reading all of them. Ternary weights would need both
// rows of an input listed, 5 operations for 32 bytes, no less than counting: one plane only.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/bconv/bconv_parts.h"

namespace bitmill {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kGroupChannels = 512;
constexpr int64_t kGroupBlocks = kGroupChannels / kLanes;
constexpr int64_t kHalfBlocks = kGroupBlocks / 2;
constexpr int64_t kRowBytes = kGroupChannels / 8;
constexpr int64_t kHalfBytes = kRowBytes / 2;
constexpr int64_t kSumBytes = kGroupChannels * 2;  // in front of a group's rows: W - 2^15
constexpr int64_t kWordBits = 64;
constexpr int64_t kMaxRows = kBconvRowsMaxWords * kWordBits;
constexpr int kLowPlanes = 4;    // weights 1 to 8, of 16 rows
constexpr int kHighPlanes = 12;  // up to kMaxRows, and one to fill a transposition up
constexpr int kPlanes = kLowPlanes + kHighPlanes;
constexpr int64_t kStepRows = 16;
constexpr int64_t kBlockSteps = 8;  // whose rows stay in the first-level cache for the other half
constexpr int64_t kAhead = 48;      // rows, of prefetching
constexpr int64_t kStoreBlocks = 16;

inline __m256i Load(const void* data) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(data));
}

inline void Store(void* data, __m256i value) {
  _mm256_storeu_si256(static_cast<__m256i*>(data), value);
}

// *low becomes the sum without carries of low, a and b; returns the carries. *low is waited for in
// two of the five operations only.
inline __m256i AddBits(__m256i* low, __m256i a, __m256i b) {
  const __m256i differ = _mm256_xor_si256(a, b);
  const __m256i carry = _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(*low, differ));
  *low = _mm256_xor_si256(*low, differ);
  return carry;
}

// Sums of 256 channels while rows come in, a bit in each plane.
struct alignas(32) Counter {
  __m256i planes[kPlanes];
  __m256i pending[kHighPlanes];  // where the count of steps has a bit, one more of that weight
};

// Adds carries of weight 16, those of step number `step` (from 1 on).
inline void AddSixteens(int64_t step, __m256i carries, Counter* counter) {
  __m256i* plane = counter->planes + kLowPlanes;
  __m256i* pending = counter->pending;
  for (; (step & 1) == 0; step >>= 1) carries = AddBits(plane++, *pending++, carries);
  *pending = carries;
}

// Adds what is pending after `steps` steps.
inline void AddPending(int64_t steps, Counter* counter) {
  __m256i carries = _mm256_setzero_si256();
  for (int level = 0; level < kHighPlanes; ++level, steps >>= 1) {
    const __m256i pending = (steps & 1) != 0 ? counter->pending[level] : _mm256_setzero_si256();
    carries = AddBits(&counter->planes[kLowPlanes + level], pending, carries);
  }
}

// Rows of 1, 2, 4 and 8 that are in registers.
struct Low {
  __m256i ones, twos, fours, eights;
};

inline __m256i AddFour(const uint8_t* rows, const uint32_t* list, Low* low) {
  const __m256i first = AddBits(&low->ones, Load(rows + list[0]), Load(rows + list[1]));
  const __m256i second = AddBits(&low->ones, Load(rows + list[2]), Load(rows + list[3]));
  return AddBits(&low->twos, first, second);
}

inline __m256i AddEight(const uint8_t* rows, const uint32_t* list, Low* low) {
  const __m256i first = AddFour(rows, list, low);
  const __m256i second = AddFour(rows, list + 4, low);
  return AddBits(&low->fours, first, second);
}

// Adds `steps` times 16 rows, after `before` such steps, to half of the channels.
template <bool kPrefetch>
void AddSteps(const uint8_t* rows, const uint32_t* list, int64_t before, int64_t steps,
              Counter* counter) {
  Low low = {counter->planes[0], counter->planes[1], counter->planes[2], counter->planes[3]};
  for (int64_t i = 1; i <= steps; ++i, list += kStepRows) {
    if constexpr (kPrefetch) {
      for (int64_t r = 0; r < kStepRows; ++r) {
        _mm_prefetch(reinterpret_cast<const char*>(rows + list[kAhead + r]), _MM_HINT_T0);
      }
    }
    const __m256i first = AddEight(rows, list, &low);
    const __m256i second = AddEight(rows, list + kStepRows / 2, &low);
    AddSixteens(before + i, AddBits(&low.eights, first, second), counter);
  }
  counter->planes[0] = low.ones;
  counter->planes[1] = low.twos;
  counter->planes[2] = low.fours;
  counter->planes[3] = low.eights;
}

// At most 15 rows, after `before` steps, and whatever is pending.
void AddLast(const uint8_t* rows, const uint32_t* list, int64_t before, int64_t count,
             Counter* counter) {
  __m256i sixteens = _mm256_setzero_si256();  // of different rows, so never twice in a lane
  for (int64_t r = 0; r < count; ++r) {
    __m256i carries = Load(rows + list[r]);
    for (int i = 0; i < kLowPlanes; ++i) {
      const __m256i plane = counter->planes[i];
      counter->planes[i] = _mm256_xor_si256(plane, carries);
      carries = _mm256_and_si256(plane, carries);
    }
    sixteens = _mm256_or_si256(sixteens, carries);
  }
  AddSixteens(before + 1, sixteens, counter);
  AddPending(before + 1, counter);
}

// Sums of the rows at `list` (bytes from `rows`), of halves x 256 channels.
void AddRows(const uint8_t* rows, const uint32_t* list, int64_t count, int64_t halves,
             Counter* counters) {
  for (int64_t half = 0; half < halves; ++half) {
    for (__m256i& plane : counters[half].planes) plane = _mm256_setzero_si256();
  }
  const int64_t steps = count / kStepRows;
  for (int64_t first = 0; first < steps; first += kBlockSteps) {
    const int64_t some = steps - first < kBlockSteps ? steps - first : kBlockSteps;
    const uint32_t* here = list + first * kStepRows;
    AddSteps<true>(rows, here, first, some, &counters[0]);
    if (halves > 1) AddSteps<false>(rows + kHalfBytes, here, first, some, &counters[1]);
  }
  for (int64_t half = 0; half < halves; ++half) {
    AddLast(rows + half * kHalfBytes, list + steps * kStepRows, steps, count % kStepRows,
            &counters[half]);
  }
}

// Transposes the 8 x 8 bits of each 64-bit lane.
inline __m256i TransposeBits(__m256i x) {
  const __m256i one = _mm256_set1_epi64x(0x00aa00aa00aa00aa);
  const __m256i two = _mm256_set1_epi64x(0x0000cccc0000cccc);
  const __m256i four = _mm256_set1_epi64x(0x00000000f0f0f0f0);
  __m256i t = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, 7)), one);
  x = _mm256_xor_si256(x, _mm256_xor_si256(t, _mm256_slli_epi64(t, 7)));
  t = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, 14)), two);
  x = _mm256_xor_si256(x, _mm256_xor_si256(t, _mm256_slli_epi64(t, 14)));
  t = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, 28)), four);
  return _mm256_xor_si256(x, _mm256_xor_si256(t, _mm256_slli_epi64(t, 28)));
}

// Eight planes to bytes: vector i holds channels 32 * i and on, in the order of BlockOfByte().
inline void PlanesToBytes(const __m256i* planes, __m256i* bytes) {
  __m256i pairs[8], quads[8];
  for (int i = 0; i < 4; ++i) {
    pairs[i] = _mm256_unpacklo_epi8(planes[2 * i], planes[2 * i + 1]);
    pairs[i + 4] = _mm256_unpackhi_epi8(planes[2 * i], planes[2 * i + 1]);
  }
  for (int half = 0; half < 8; half += 4) {
    quads[half] = _mm256_unpacklo_epi16(pairs[half], pairs[half + 1]);
    quads[half + 1] = _mm256_unpackhi_epi16(pairs[half], pairs[half + 1]);
    quads[half + 2] = _mm256_unpacklo_epi16(pairs[half + 2], pairs[half + 3]);
    quads[half + 3] = _mm256_unpackhi_epi16(pairs[half + 2], pairs[half + 3]);
    for (int i = 0; i < 2; ++i) {
      bytes[half + 2 * i] =
          TransposeBits(_mm256_unpacklo_epi32(quads[half + i], quads[half + i + 2]));
      bytes[half + 2 * i + 1] =
          TransposeBits(_mm256_unpackhi_epi32(quads[half + i], quads[half + i + 2]));
    }
  }
}

// Which block of 8 channels a byte of half a row belongs to: PlanesToBytes() then leaves blocks 0,
// 1, 2 and 3 of a vector in its four quarters.
int64_t BlockOfByte(int64_t byte) {
  return byte < 16 ? byte / 2 * 4 + byte % 2 : (byte - 16) / 2 * 4 + 2 + byte % 2;
}

// 16-bit differences of 256 channels, as StoreBconvLookupAvx2() takes them. `constants`: W - 2^15.
void SumsToDifferences(const __m256i* sums, const int16_t* constants, int64_t rows,
                       int16_t* differences) {
  __m256i low[kLanes], high[kLanes];
  PlanesToBytes(sums, low);
  PlanesToBytes(sums + kLanes, high);
  const __m256i offset = _mm256_set1_epi16(static_cast<int16_t>(rows));
  for (int v = 0; v < kLanes; ++v) {
    for (int odd = 0; odd < 2; ++odd) {
      const __m256i sum =
          odd == 0 ? _mm256_unpacklo_epi8(low[v], high[v]) : _mm256_unpackhi_epi8(low[v], high[v]);
      const int64_t at = v * 32 + odd * 16;
      const __m256i constant = _mm256_add_epi16(Load(constants + at), offset);
      Store(differences + at, _mm256_sub_epi16(constant, _mm256_add_epi16(sum, sum)));
    }
  }
}

int64_t GroupBytes(const BconvArgs& args) {
  return kSumBytes + int64_t{args.taps} * args.c_words * kWordBits * kRowBytes;
}

// The rows of S, in bytes from a group's first one; kAhead + kStepRows more follow, any.
struct RowList {
  int64_t rows;
  uint32_t at[kMaxRows + kAhead + kStepRows];
};

void ListRows(const BconvArgs& args, const uint64_t* window, RowList* list) {
  uint32_t* next = list->at;
  uint32_t first = 0;  // row of the word
  for (int32_t t = 0; t < args.taps; ++t) {
    for (int32_t w = 0; w < args.c_words; ++w) {
      uint64_t bits = window[args.tap_words[t] + w];
      uint32_t* const end = next + _mm_popcnt_u64(bits);
      // Four at a time, for fewer branches; those past the end are written over.
      for (; next < end; next += 4) {
        for (int i = 0; i < 4; ++i, bits &= bits - 1) {
          next[i] = first + static_cast<uint32_t>(_tzcnt_u64(bits)) * kRowBytes;
        }
      }
      next = end;
      first += static_cast<uint32_t>(kWordBits * kRowBytes);
    }
  }
  list->rows = next - list->at;
  memset(next, 0, (kAhead + kStepRows) * sizeof(*next));
}

void StoreGroup(const BconvArgs& args, const BconvPixel& pixel, int64_t first_block,
                const int16_t* differences) {
  const int64_t blocks = (int64_t{args.out_channels} + kLanes - 1) / kLanes;
  BconvLookupLimits limits;
  for (int64_t b = 0; b < kGroupBlocks && first_block + b < blocks; b += kStoreBlocks) {
    const int64_t left = blocks - first_block - b;
    limits.table_row = -1;
    StoreBconvLookupAvx2(args, pixel, first_block + b, left < kStoreBlocks ? left : kStoreBlocks,
                         differences + b * kLanes, &limits);
  }
}

void RunPixel(const BconvArgs& args, const BconvPixel& pixel, const uint8_t* rows, RowList* list) {
  ListRows(args, pixel.window, list);
  alignas(64) int16_t differences[kGroupChannels];
  for (int64_t channel = 0; channel < args.out_channels; channel += kGroupChannels) {
    Counter counters[2];
    const int64_t halves = args.out_channels - channel > kGroupChannels / 2 ? 2 : 1;
    AddRows(rows + kSumBytes, list->at, list->rows, halves, counters);
    const auto* const constants = reinterpret_cast<const int16_t*>(rows);
    for (int64_t half = 0; half < halves; ++half) {
      const int64_t first = half * kGroupChannels / 2;
      SumsToDifferences(counters[half].planes, constants + first, list->rows, differences + first);
    }
    StoreGroup(args, pixel, channel / kLanes, differences);
    rows += GroupBytes(args);
  }
}

// Bits of one block of 8 channels into a column of bytes of the rows; adds to its set bits.
void PrepareBlock(const BconvArgs& args, int64_t block, uint8_t* column, uint16_t* set_bits) {
  const int64_t words = int64_t{args.taps} * args.c_words;
  const uint64_t* weights = args.weights + block * words * kLanes;
  for (int64_t w = 0; w < words; ++w, weights += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const uint64_t bits = weights[lane];
      set_bits[lane] = static_cast<uint16_t>(set_bits[lane] + __builtin_popcountll(bits));
      for (int64_t i = 0; i < kWordBits; ++i) {
        uint8_t* byte = column + (w * kWordBits + i) * kRowBytes;
        *byte = static_cast<uint8_t>(*byte | (bits >> i & 1) << lane);
      }
    }
  }
}

}  // namespace

void BconvRowsAvx2(const BconvArgs& args, const uint8_t* rows) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  RowList list;
  for (int64_t p = 0; p < pixels; ++p) {
    BconvPixel pixel;
    ListBconvPixels(args, p, 1, &pixel);
    RunPixel(args, pixel, rows, &list);
  }
}

int64_t BconvRowsBytesAvx2(const BconvArgs& args) {
  return (int64_t{args.out_channels} + kGroupChannels - 1) / kGroupChannels * GroupBytes(args);
}

void PrepareBconvRowsAvx2(const BconvArgs& args, uint8_t* rows) {
  memset(rows, 0, static_cast<size_t>(BconvRowsBytesAvx2(args)));
  const int64_t blocks = (int64_t{args.out_channels} + kLanes - 1) / kLanes;
  for (int64_t group = 0; group < blocks; group += kGroupBlocks, rows += GroupBytes(args)) {
    auto* const constants = reinterpret_cast<uint16_t*>(rows);
    for (int64_t i = 0; i < kGroupChannels; ++i) constants[i] = uint16_t{1} << 15;
    for (int64_t byte = 0; byte < kRowBytes; ++byte) {
      const int64_t half = byte / kHalfBytes;
      const int64_t block = half * kHalfBlocks + BlockOfByte(byte % kHalfBytes);
      if (group + block >= blocks) continue;
      uint16_t* set_bits = constants + (block / 4 * 4 + block % 2 * 2 + block % 4 / 2) * kLanes;
      PrepareBlock(args, group + block, rows + kSumBytes + byte, set_bits);
    }
  }
}

}  // namespace bitmill
