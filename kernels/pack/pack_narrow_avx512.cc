// Signs of 8 and 16-bit numbers: comparisons of integers, 64 a turn, as a mask.
//
// Channels innermost: masks are stored as they come. Pixels innermost: 64 pixels are the bytes of a
// vector and eight channels the bits of a byte, set under the masks; eight such vectors are
// unpacked into the words of 64 pixels. Reading binds; a vector of 16-bit floats takes two
// comparisons on the one port that has them.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/pack/pack.h"
#include "kernels/pack/pack_words_avx2.h"

namespace bitmill {

void SignPackNarrowAvx512(const SignPackNarrowArgs& args);

namespace {

constexpr int32_t kTurn = 64;  // numbers: channels of a store, or pixels

inline uint64_t FirstBits(int32_t count) { return ~uint64_t{0} >> (64 - count); }

// A source has the bytes of a number; keys of 64 numbers, which may be the same, from a pattern of
// 32 bits (narrower broadcasts from memory are not free); and a mask of the numbers at `at` that do
// not reach them. Numbers whose bit in `lanes` is not set are not read.
template <bool kUnsigned>
struct Bytes {
  static constexpr int64_t kBytes = 1;
  struct Pattern {
    uint32_t keys;
  };
  struct Keys {
    __m512i keys;
  };
  static Pattern PatternOf(int16_t key) { return {static_cast<uint8_t>(key) * 0x01010101U}; }
  static Keys Same(const Pattern& pattern) {
    return {_mm512_set1_epi32(static_cast<int>(pattern.keys))};
  }
  static Keys Each(const int16_t* keys) {
    alignas(64) uint8_t narrow[kTurn];
    for (int i = 0; i < kTurn; ++i) narrow[i] = static_cast<uint8_t>(keys[i]);
    return {_mm512_load_si512(narrow)};
  }
  static __mmask64 Below(const uint8_t* at, __mmask64 lanes, const Keys& keys) {
    const __m512i values = _mm512_maskz_loadu_epi8(lanes, at);
    return kUnsigned ? _mm512_cmplt_epu8_mask(values, keys.keys)
                     : _mm512_cmplt_epi8_mask(values, keys.keys);
  }
};

// Numbers from the key up to infinity, less the key, are the unsigned ones below what lies between:
// one comparison, which not a number fails too.
template <int kInfinity>
struct Floats16 {
  static constexpr int64_t kBytes = 2;
  struct Pattern {
    uint32_t keys, counts;
  };
  struct Keys {
    __m512i keys[2], counts[2];
  };
  static Pattern PatternOf(int16_t key) {
    const int32_t least = Smaller(key, kInfinity + 1);
    return {static_cast<uint16_t>(least) * 0x00010001U,
            static_cast<uint16_t>(kInfinity + 1 - least) * 0x00010001U};
  }
  static Keys Same(const Pattern& pattern) {
    const __m512i keys = _mm512_set1_epi32(static_cast<int>(pattern.keys));
    const __m512i counts = _mm512_set1_epi32(static_cast<int>(pattern.counts));
    return {{keys, keys}, {counts, counts}};
  }
  static Keys Each(const int16_t* keys) {
    alignas(64) uint16_t least[kTurn], count[kTurn];
    for (int i = 0; i < kTurn; ++i) {
      const Pattern pattern = PatternOf(keys[i]);
      least[i] = static_cast<uint16_t>(pattern.keys);
      count[i] = static_cast<uint16_t>(pattern.counts);
    }
    return {{_mm512_load_si512(least), _mm512_load_si512(least + kTurn / 2)},
            {_mm512_load_si512(count), _mm512_load_si512(count + kTurn / 2)}};
  }
  static __mmask64 Below(const uint8_t* at, __mmask64 lanes, const Keys& keys) {
    const auto low = static_cast<__mmask32>(lanes), high = static_cast<__mmask32>(lanes >> 32);
    const uint64_t first =
        BelowHalf(_mm512_maskz_loadu_epi16(low, at), keys.keys[0], keys.counts[0]);
    const uint64_t second =
        BelowHalf(_mm512_maskz_loadu_epi16(high, at + 64), keys.keys[1], keys.counts[1]);
    return first | second << 32;
  }

 private:
  static __mmask32 BelowHalf(__m512i values, __m512i keys, __m512i counts) {
    constexpr int kXorOfAnd = 0x78;  // first xor (second and third)
    const __m512i negative = _mm512_srai_epi16(values, 15);
    const __m512i rising =
        _mm512_ternarylogic_epi32(values, negative, _mm512_set1_epi16(0x7fff), kXorOfAnd);
    return _mm512_cmpge_epu16_mask(_mm512_sub_epi16(rising, keys), counts);
  }
};

// Keys of `count` channels (at most 64) from `first` on.
template <typename Source>
typename Source::Keys KeysOf(const SignPackNarrowArgs& args, int32_t first, int32_t count) {
  if (args.per_channel == 0) return Source::Same(Source::PatternOf(args.keys[0]));
  int16_t keys[kTurn] = {};
  memcpy(keys, args.keys + first, static_cast<size_t>(count) * sizeof(keys[0]));
  return Source::Each(keys);
}

// Up to 64 channels of all pixels, channels innermost; kFull: 64.
template <typename Source, bool kFull>
void PackChannels(const SignPackNarrowArgs& args, int32_t channel, int32_t count) {
  const typename Source::Keys keys = KeysOf<Source>(args, channel, count);
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  const uint64_t lanes = kFull ? ~uint64_t{0} : FirstBits(count);
  const uint8_t* src = static_cast<const uint8_t*>(args.src) + channel * Source::kBytes;
  uint8_t* dst = args.dst + channel / 8;
  const int64_t src_step = args.src_pixel * Source::kBytes, dst_pixel = args.dst_pixel;
  for (int32_t left = args.pixels; left > 0; --left, src += src_step, dst += dst_pixel) {
    const uint64_t bits = (Source::Below(src, lanes, keys) & lanes) ^ invert;
    StoreBytes(dst, bits, kFull ? 8 : (count + 7) / 8);
  }
}

inline void StoreLanes(__m512i words, uint64_t* first) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(first), _mm512_castsi512_si128(words));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(first + 16), _mm512_extracti32x4_epi32(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(first + 32), _mm512_extracti32x4_epi32(words, 2));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(first + 48), _mm512_extracti32x4_epi32(words, 3));
}

// Eight vectors of a byte a pixel become the words of 64 pixels.
inline void JoinBytes512(const __m512i bytes[8], uint64_t words[kTurn]) {
  __m512i pairs[8], quads[8];
  for (int i = 0; i < 4; ++i) {
    pairs[i] = _mm512_unpacklo_epi8(bytes[2 * i], bytes[2 * i + 1]);
    pairs[i + 4] = _mm512_unpackhi_epi8(bytes[2 * i], bytes[2 * i + 1]);
  }
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 2; ++i) {
      const __m512i a = pairs[half * 4 + 2 * i];
      const __m512i b = pairs[half * 4 + 2 * i + 1];
      quads[half * 4 + i] = _mm512_unpacklo_epi16(a, b);
      quads[half * 4 + 2 + i] = _mm512_unpackhi_epi16(a, b);
    }
  }
  for (int group = 0; group < 4; ++group) {
    StoreLanes(_mm512_unpacklo_epi32(quads[group * 2], quads[group * 2 + 1]), words + group * 4);
    StoreLanes(_mm512_unpackhi_epi32(quads[group * 2], quads[group * 2 + 1]),
               words + group * 4 + 2);
  }
}

// Channels of a tile, pixels innermost.
template <typename Source>
struct Group {
  int32_t channel, count;  // the first; at most 64
  uint64_t invert;
  typename Source::Pattern patterns[kTurn];
};

// A group of `pixels` (at most 64) pixels from `pixel` on; kFull: 64 of channels and pixels.
template <typename Source, bool kFull>
void PackTile(const SignPackNarrowArgs& args, const Group<Source>& group, int32_t pixel,
              int32_t pixels) {
  const int32_t channel = group.channel, count = group.count;
  const int64_t src_step = args.src_channel * Source::kBytes;
  const uint64_t lanes = kFull ? ~uint64_t{0} : FirstBits(pixels);
  const uint8_t* src =
      static_cast<const uint8_t*>(args.src) + (pixel + channel * args.src_channel) * Source::kBytes;
  __m512i bytes[8];
  for (int32_t i = 0; i < 8; ++i) {
    __m512i merged = _mm512_setzero_si512();
    __m512i bit = _mm512_set1_epi8(1);
    const int32_t here = kFull ? 8 : Smaller(count - i * 8, 8);
#pragma GCC unroll 8
    for (int32_t c = 0; c < here; ++c, src += src_step) {
      const __mmask64 below = Source::Below(src, lanes, Source::Same(group.patterns[i * 8 + c]));
      merged = _mm512_mask_add_epi8(merged, below, merged, bit);
      bit = _mm512_add_epi8(bit, bit);
    }
    bytes[i] = merged;
  }
  uint64_t words[kTurn];
  JoinBytes512(bytes, words);
  const int64_t dst_pixel = args.dst_pixel;
  uint8_t* dst = args.dst + pixel * dst_pixel + channel / 8;
  for (int32_t p = 0; p < (kFull ? kTurn : pixels); ++p, dst += dst_pixel) {
    StoreBytes(dst, words[p] ^ group.invert, kFull ? 8 : (count + 7) / 8);
  }
}

// Up to 64 channels of all pixels, pixels innermost.
template <typename Source>
void PackPlanes(const SignPackNarrowArgs& args, int32_t channel, int32_t count) {
  Group<Source> group;
  group.channel = channel;
  group.count = count;
  group.invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  for (int32_t c = 0; c < count; ++c) {
    group.patterns[c] = Source::PatternOf(args.keys[args.per_channel != 0 ? channel + c : 0]);
  }
  int32_t p = 0;
  for (; count == kTurn && p + kTurn <= args.pixels; p += kTurn) {
    PackTile<Source, true>(args, group, p, kTurn);
  }
  for (; p < args.pixels; p += kTurn) {
    PackTile<Source, false>(args, group, p, Smaller(args.pixels - p, kTurn));
  }
}

// Any strides: the numbers of a pixel are brought together.
template <typename Source>
void PackStrided(const SignPackNarrowArgs& args, int32_t channel, int32_t count) {
  const uint8_t* const src = static_cast<const uint8_t*>(args.src);
  const typename Source::Keys keys = KeysOf<Source>(args, channel, count);
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  const uint64_t lanes = FirstBits(count);
  for (int32_t p = 0; p < args.pixels; ++p) {
    uint8_t numbers[kTurn * Source::kBytes];
    for (int32_t c = 0; c < count; ++c) {
      const int64_t at = p * args.src_pixel + (channel + c) * args.src_channel;
      memcpy(numbers + c * Source::kBytes, src + at * Source::kBytes, Source::kBytes);
    }
    StoreBytes(args.dst + p * args.dst_pixel + channel / 8,
               (Source::Below(numbers, lanes, keys) & lanes) ^ invert, (count + 7) / 8);
  }
}

template <typename Source>
void Pack(const SignPackNarrowArgs& args) {
  for (int32_t c = 0; c < args.channels; c += kTurn) {
    const int32_t count = Smaller(args.channels - c, kTurn);
    if (args.src_channel != 1 && args.src_pixel == 1) {
      PackPlanes<Source>(args, c, count);
    } else if (args.src_channel != 1) {
      PackStrided<Source>(args, c, count);
    } else if (count == kTurn) {
      PackChannels<Source, true>(args, c, count);
    } else {
      PackChannels<Source, false>(args, c, count);
    }
  }
}

}  // namespace

void SignPackNarrowAvx512(const SignPackNarrowArgs& args) {
  switch (args.source) {
    case PackSource::kHalf:
      return Pack<Floats16<0x7c00>>(args);
    case PackSource::kBFloat16:
      return Pack<Floats16<0x7f80>>(args);
    case PackSource::kInt8:
      return Pack<Bytes<false>>(args);
    case PackSource::kUInt8:
      return Pack<Bytes<true>>(args);
  }
}

}  // namespace bitmill
