// The oracle of every other implementation: plain loops in the order of the formulas.
#include <math.h>
#include <string.h>

#include "kernels/pack/pack.h"

namespace bitmill {

void SignPackRef(const SignPackArgs& args);
void SignPackNarrowRef(const SignPackNarrowArgs& args);
void QuantPackRef(const QuantPackArgs& args);

namespace {

// The source may have any alignment.
float LoadFloat(const float* from) {
  float value;
  memcpy(&value, from, sizeof(value));
  return value;
}

// Whether number `i` is at least what `key` stands for.
bool ReachesKey(PackSource source, const void* src, int64_t i, int16_t key) {
  if (source == PackSource::kInt8) return static_cast<const int8_t*>(src)[i] >= key;
  if (source == PackSource::kUInt8) return static_cast<const uint8_t*>(src)[i] >= key;
  int16_t bits;
  memcpy(&bits, static_cast<const uint8_t*>(src) + i * 2, sizeof(bits));
  const int16_t infinity = source == PackSource::kHalf ? 0x7c00 : 0x7f80;
  if ((bits & 0x7fff) > infinity) return false;  // not a number
  return (bits < 0 ? bits ^ 0x7fff : bits) >= key;
}

}  // namespace

void SignPackRef(const SignPackArgs& args) {
  for (int32_t p = 0; p < args.pixels; ++p) {
    const float* src = args.src + p * args.src_pixel;
    for (int32_t c = 0; c < args.channels; ++c) {
      const int32_t row = args.per_channel != 0 ? c : 0;
      const bool below = !(LoadFloat(src + c * args.src_channel) >= args.thresholds[row]);
      const bool flip = args.invert != nullptr && args.invert[row] != 0;
      uint8_t* byte = args.dst + p * args.dst_pixel + c / 8;
      if (c % 8 == 0) *byte = 0;
      if (below != flip) *byte = static_cast<uint8_t>(*byte | 1u << (c % 8));
    }
  }
}

void SignPackNarrowRef(const SignPackNarrowArgs& args) {
  for (int32_t p = 0; p < args.pixels; ++p) {
    for (int32_t c = 0; c < args.channels; ++c) {
      const int32_t row = args.per_channel != 0 ? c : 0;
      const int64_t at = p * args.src_pixel + c * args.src_channel;
      const bool below = !ReachesKey(args.source, args.src, at, args.keys[row]);
      const bool flip = args.invert != nullptr && args.invert[row] != 0;
      uint8_t* byte = args.dst + p * args.dst_pixel + c / 8;
      if (c % 8 == 0) *byte = 0;
      if (below != flip) *byte = static_cast<uint8_t>(*byte | 1u << (c % 8));
    }
  }
}

void QuantPackRef(const QuantPackArgs& args) {
  const float low = static_cast<float>(-args.shift);
  const float top = static_cast<float>(args.levels - 1 - args.shift);
  for (int32_t p = 0; p < args.pixels; ++p) {
    const float* src = args.src + p * args.src_pixel;
    for (int32_t c = 0; c < args.channels; ++c) {
      const float quotient = LoadFloat(src + c * args.src_channel) / args.scale;
      const float value = quotient + args.offset;
      const float from_low = value > low ? value : low;  // not a number gives code 0
      const float rounded = nearbyintf(from_low < top ? from_low : top);
      args.dst[p * args.dst_pixel + c] =
          static_cast<uint8_t>(static_cast<int32_t>(rounded) + args.shift);
    }
  }
}

}  // namespace bitmill
