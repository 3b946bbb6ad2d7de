// The oracle of every other implementation: plain loops in the order of the formula.
#include "kernels/bdepth/bdepth_table.h"

namespace bitmill {

void BdepthRef(const BdepthArgs& args);

namespace {

constexpr int32_t kWordBits = 64;

int32_t Bit(uint64_t word, int32_t channel) {
  return static_cast<int32_t>(word >> (channel % kWordBits) & 1);
}

int32_t CountDifferences(const BdepthArgs& args, const uint64_t* window, int32_t channel) {
  const int64_t line = args.c_words + kBdepthRepeatWords;
  const int64_t w = channel / kWordBits;
  int32_t count = 0;
  for (int64_t t = 0; t < args.taps; ++t) {
    const uint64_t* const b = args.weights + t * args.planes * line + w;
    const uint64_t a = window[args.tap_words[t] + w];
    count += Bit(args.planes == 2 ? b[0] & (a ^ b[line]) : a ^ b[0], channel);
  }
  return count;
}

// The limit of a channel at word `at` of a line of the output.
int32_t LimitOf(const BdepthArgs& args, int64_t row_class, int64_t at, int32_t channel) {
  const int32_t planes = BdepthCountPlanes(args.taps);
  const int64_t words = int64_t{args.out_w} * args.c_words;
  int32_t stored = 0;
  for (int32_t k = 0; k < planes; ++k) {
    stored += Bit(args.limits[(row_class * planes + k) * words + at], channel) << k;
  }
  return (1 << planes) - 2 - stored;
}

void StorePixel(const BdepthArgs& args, int64_t y, int64_t x, const uint64_t* window, int64_t out) {
  const int64_t row_class = args.row_class != nullptr ? args.row_class[y] : 0;
  const int64_t col_class = args.col_class != nullptr ? args.col_class[x] : 0;
  const int64_t padded = (int64_t{args.channels} + 7) / 8 * 8;
  const int32_t* const base = args.base != nullptr
                                  ? args.base + (row_class * args.col_classes + col_class) * padded
                                  : nullptr;
  for (int32_t c = 0; c < args.channels; ++c) {
    const int32_t count = CountDifferences(args, window, c);
    if (args.out_bits != nullptr) {
      uint64_t* const word = args.out_bits + out + x * args.c_words + c / kWordBits;
      if (c % kWordBits == 0) *word = 0;
      const int32_t limit = LimitOf(args, row_class, x * args.c_words + c / kWordBits, c);
      if (count > limit) *word |= uint64_t{1} << (c % kWordBits);
      continue;
    }
    const int64_t at = out + x * args.channels + c;
    const auto acc =
        static_cast<int32_t>(static_cast<uint32_t>(base[c]) - 2U * static_cast<uint32_t>(count));
    if (args.out_int32 != nullptr) {
      args.out_int32[at] = acc;
    } else {
      const float scaled = static_cast<float>(acc) * args.scale[c];
      args.out_float[at] = scaled + args.bias[c];
    }
  }
}

}  // namespace

void BdepthRef(const BdepthArgs& args) {
  for (int64_t n = 0; n < args.batch; ++n) {
    for (int64_t y = 0; y < args.out_h; ++y) {
      for (int64_t x = 0; x < args.out_w; ++x) {
        const uint64_t* const window = args.input + n * args.image_words +
                                       y * args.stride_h * args.row_words +
                                       x * args.stride_w * args.c_words;
        StorePixel(args, y, x, window, n * args.out_image + y * args.out_row);
      }
    }
  }
}

}  // namespace bitmill
