#include "kernels/gather/gather.h"

namespace bitmill {

void GatherRef(const GatherArgs& args);

void GatherRef(const GatherArgs& args) {
  for (int64_t p = 0; p < args.pixels; ++p) {
    const uint64_t* src = args.src + p * args.src_pixel;
    uint64_t* dst = args.dst + p * args.dst_pixel;
    uint64_t out = 0;
    int64_t bits = 0;  // so far
    for (int64_t w = 0; w < args.words; ++w) {
      for (int64_t i = 0; i < 64; ++i) {
        if ((args.masks[w] >> i & 1) == 0) continue;
        out |= (src[w] >> i & 1) << (bits % 64);
        if (++bits % 64 != 0) continue;
        *dst++ = out;
        out = 0;
      }
    }
    if (bits % 64 != 0) *dst = out;
  }
}

}  // namespace bitmill
