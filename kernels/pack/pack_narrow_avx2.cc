// Signs of 8 and 16-bit numbers: comparisons of integers, 32 a turn, as 32 bytes of 0 or -1.
//
// Channels innermost: the signs of the bytes are the bits. Pixels innermost: the bytes of 32 pixels
// are merged for eight channels, and eight such vectors are unpacked into the words of 32 pixels.
// Reading binds for bytes; a vector of 16-bit floats takes two comparisons and three operations
// that make a number which rises with the float.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/pack/pack.h"
#include "kernels/pack/pack_words_avx2.h"

namespace bitmill {

void SignPackNarrowAvx2(const SignPackNarrowArgs& args);

namespace {

constexpr int32_t kTurn = 32;          // numbers
constexpr int32_t kWordChannels = 64;  // of a store

inline __m256i Load(const uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// A source has the bytes of a number, keys of 32 numbers, and bytes of -1 where the numbers at `at`
// do not reach them, which InOrder() puts in order.
template <bool kUnsigned>
struct Bytes {
  static constexpr int64_t kBytes = 1;
  struct Keys {
    __m256i keys;
  };
  static Keys Same(int16_t key) { return {_mm256_set1_epi8(Biased(key))}; }
  static Keys Each(const int16_t* keys) {
    alignas(32) int8_t narrow[kTurn];
    for (int i = 0; i < kTurn; ++i) narrow[i] = Biased(keys[i]);
    return {_mm256_load_si256(reinterpret_cast<const __m256i*>(narrow))};
  }
  static __m256i Below(const uint8_t* at, const Keys& keys) {
    const __m256i values = Load(at);
    return _mm256_cmpgt_epi8(
        keys.keys, kUnsigned ? _mm256_xor_si256(values, _mm256_set1_epi8(INT8_MIN)) : values);
  }
  static __m256i InOrder(__m256i bytes) { return bytes; }

 private:
  static int8_t Biased(int16_t key) { return static_cast<int8_t>(kUnsigned ? key - 128 : key); }
};

template <int kInfinity>
struct Floats16 {
  static constexpr int64_t kBytes = 2;
  struct Keys {
    __m256i low, high;
  };
  static Keys Same(int16_t key) { return {_mm256_set1_epi16(key), _mm256_set1_epi16(key)}; }
  static Keys Each(const int16_t* keys) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys + kTurn / 2))};
  }
  static __m256i Below(const uint8_t* at, const Keys& keys) {
    return _mm256_packs_epi16(BelowHalf(Load(at), keys.low), BelowHalf(Load(at + 32), keys.high));
  }
  // Packing goes within halves.
  static __m256i InOrder(__m256i bytes) { return _mm256_permute4x64_epi64(bytes, 0xd8); }

 private:
  static __m256i BelowHalf(__m256i values, __m256i keys) {
    const __m256i negative = _mm256_srai_epi16(values, 15);
    const __m256i rising =
        _mm256_xor_si256(values, _mm256_and_si256(negative, _mm256_set1_epi16(0x7fff)));
    return _mm256_or_si256(_mm256_cmpgt_epi16(keys, rising),
                           _mm256_cmpgt_epi16(rising, _mm256_set1_epi16(kInfinity)));
  }
};

// Keys of `count` channels (at most 32) from `first` on.
template <typename Source>
typename Source::Keys KeysOf(const SignPackNarrowArgs& args, int32_t first, int32_t count) {
  if (args.per_channel == 0) return Source::Same(args.keys[0]);
  int16_t keys[kTurn] = {};
  memcpy(keys, args.keys + first, static_cast<size_t>(count) * sizeof(keys[0]));
  return Source::Each(keys);
}

template <typename Source>
inline uint32_t BelowBits(const uint8_t* at, const typename Source::Keys& keys) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(Source::InOrder(Source::Below(at, keys))));
}

// 64 channels of all pixels, channels innermost.
template <typename Source>
void PackWord(const SignPackNarrowArgs& args, int32_t channel) {
  const typename Source::Keys low = KeysOf<Source>(args, channel, kTurn);
  const typename Source::Keys high = KeysOf<Source>(args, channel + kTurn, kTurn);
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, kWordChannels);
  const uint8_t* src = static_cast<const uint8_t*>(args.src) + channel * Source::kBytes;
  uint8_t* dst = args.dst + channel / 8;
  const int64_t src_step = args.src_pixel * Source::kBytes, dst_pixel = args.dst_pixel;
  for (int32_t left = args.pixels; left > 0; --left, src += src_step, dst += dst_pixel) {
    const uint64_t bits =
        (uint64_t{BelowBits<Source>(src, low)} |
         uint64_t{BelowBits<Source>(src + kTurn * Source::kBytes, high)} << kTurn) ^
        invert;
    memcpy(dst, &bits, sizeof(bits));
  }
}

// Up to 32 channels of all pixels, channels innermost.
template <typename Source>
void PackRest(const SignPackNarrowArgs& args, int32_t channel, int32_t count) {
  const typename Source::Keys keys = KeysOf<Source>(args, channel, count);
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  const uint64_t keep = ~uint64_t{0} >> (64 - count);
  const uint8_t* src = static_cast<const uint8_t*>(args.src) + channel * Source::kBytes;
  uint8_t* dst = args.dst + channel / 8;
  for (int32_t p = 0; p < args.pixels; ++p) {
    uint8_t numbers[kTurn * Source::kBytes] = {};
    memcpy(numbers, src, static_cast<size_t>(count) * Source::kBytes);
    StoreBytes(dst, (BelowBits<Source>(numbers, keys) & keep) ^ invert, (count + 7) / 8);
    src += args.src_pixel * Source::kBytes;
    dst += args.dst_pixel;
  }
}

// Up to 64 channels of 32 pixels from `pixel` on, or of `pixels` of them when kPart.
template <typename Source, bool kPart>
void PackTile(const SignPackNarrowArgs& args, int32_t channel, int32_t count, uint64_t invert,
              int32_t pixel, int32_t pixels) {
  const uint8_t* const src = static_cast<const uint8_t*>(args.src);
  const int64_t step = args.per_channel != 0 ? 1 : 0;
  __m256i bytes[8];
  for (int32_t i = 0; i < 8; ++i) {
    __m256i merged = _mm256_setzero_si256();
    __m256i bit = _mm256_set1_epi8(1);
    const int32_t end = Smaller(count, i * 8 + 8);
    for (int32_t c = i * 8; c < end; ++c) {
      const uint8_t* at = src + (pixel + (channel + c) * args.src_channel) * Source::kBytes;
      uint8_t numbers[kPart ? kTurn * Source::kBytes : 1] = {};
      if (kPart) {
        memcpy(numbers, at, static_cast<size_t>(pixels) * Source::kBytes);
        at = numbers;
      }
      const __m256i below = Source::Below(at, Source::Same(args.keys[(channel + c) * step]));
      merged = _mm256_or_si256(merged, _mm256_and_si256(below, bit));
      bit = _mm256_add_epi8(bit, bit);
    }
    bytes[i] = Source::InOrder(merged);
  }
  uint64_t words[kTurn];
  JoinBytes(bytes, 4, 16, words);
  const int64_t dst_pixel = args.dst_pixel;
  uint8_t* dst = args.dst + pixel * dst_pixel + channel / 8;
  for (int32_t p = 0; p < pixels; ++p, dst += dst_pixel) {
    StoreBytes(dst, words[p] ^ invert, (count + 7) / 8);
  }
}

// Up to 64 channels of all pixels, pixels innermost. The last tile ends at the last pixel; what it
// shares with the one before is done twice.
template <typename Source>
void PackPlanes(const SignPackNarrowArgs& args, int32_t channel, int32_t count) {
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  if (args.pixels < kTurn) {
    PackTile<Source, true>(args, channel, count, invert, 0, args.pixels);
    return;
  }
  int32_t p = 0;
  for (; p + kTurn <= args.pixels; p += kTurn) {
    PackTile<Source, false>(args, channel, count, invert, p, kTurn);
  }
  if (p == args.pixels) return;
  PackTile<Source, false>(args, channel, count, invert, args.pixels - kTurn, kTurn);
}

// Any strides: the numbers of a pixel are brought together.
template <typename Source>
void PackStrided(const SignPackNarrowArgs& args, int32_t channel, int32_t count) {
  const uint8_t* const src = static_cast<const uint8_t*>(args.src);
  const typename Source::Keys keys = KeysOf<Source>(args, channel, count);
  const uint64_t invert = InvertBits(args.invert, args.per_channel != 0, channel, count);
  const uint64_t keep = ~uint64_t{0} >> (64 - count);
  for (int32_t p = 0; p < args.pixels; ++p) {
    uint8_t numbers[kTurn * Source::kBytes] = {};
    for (int32_t c = 0; c < count; ++c) {
      const int64_t at = p * args.src_pixel + (channel + c) * args.src_channel;
      memcpy(numbers + c * Source::kBytes, src + at * Source::kBytes, Source::kBytes);
    }
    StoreBytes(args.dst + p * args.dst_pixel + channel / 8,
               (BelowBits<Source>(numbers, keys) & keep) ^ invert, (count + 7) / 8);
  }
}

template <typename Source>
void Pack(const SignPackNarrowArgs& args) {
  int32_t c = 0;
  if (args.src_channel == 1) {
    for (; c + kWordChannels <= args.channels; c += kWordChannels) PackWord<Source>(args, c);
    for (; c < args.channels; c += kTurn) {
      PackRest<Source>(args, c, Smaller(args.channels - c, kTurn));
    }
  } else if (args.src_pixel == 1) {
    for (; c < args.channels; c += kWordChannels) {
      PackPlanes<Source>(args, c, Smaller(args.channels - c, kWordChannels));
    }
  } else {
    for (; c < args.channels; c += kTurn) {
      PackStrided<Source>(args, c, Smaller(args.channels - c, kTurn));
    }
  }
}

}  // namespace

void SignPackNarrowAvx2(const SignPackNarrowArgs& args) {
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
