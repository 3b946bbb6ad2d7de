// pext takes the selected bits of a word; words of the output fill up from the low end. A word is a
// load, pext, popcnt of its mask, two shifts, or and a store: 3 cycles, of which a convolution has
// thousands for the pixel.
#include <immintrin.h>
#include <stdint.h>

#include "kernels/gather/gather.h"

namespace bitmill {

void GatherAvx2(const GatherArgs& args);

void GatherAvx2(const GatherArgs& args) {
  constexpr int kWordBits = 64;
  int64_t all = 0;
  for (int64_t w = 0; w < args.words; ++w) all += _mm_popcnt_u64(args.masks[w]);
  const int64_t out_words = (all + kWordBits - 1) / kWordBits;
  for (int64_t p = 0; p < args.pixels; ++p) {
    const uint64_t* const src = args.src + p * args.src_pixel;
    uint64_t* const dst = args.dst + p * args.dst_pixel;
    uint64_t out = 0;
    int64_t bits = 0;  // before this word
    for (int64_t w = 0; w < args.words; ++w) {
      const uint64_t mask = args.masks[w];
      if (mask == 0) continue;
      const uint64_t selected = _pext_u64(src[w], mask);
      const int64_t place = bits % kWordBits;
      const int64_t word = bits / kWordBits;
      bits += _mm_popcnt_u64(mask);
      out |= selected << place;
      dst[word] = out;
      if (bits / kWordBits == word) continue;
      // What did not fit; nothing where the word was just filled.
      out = place > 0 ? selected >> (kWordBits - place) : 0;
      if (word + 1 < out_words) dst[word + 1] = out;
    }
  }
}

}  // namespace bitmill
