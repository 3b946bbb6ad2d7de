// Chooses the formulation. Lookup pays for rearranging the weights once in each tile of pixels:
// about as much as three pixels cost, so from eight pixels on it wins.
#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void BconvAvx2(const BconvArgs& args);

namespace {

constexpr int64_t kMinLookupPixels = 8;

}  // namespace

void BconvAvx2(const BconvArgs& args) {
  const int64_t pixels = int64_t{args.batch} * args.out_h * args.out_w;
  const int64_t words = int64_t{args.taps} * args.c_words;
  if (pixels >= kMinLookupPixels && words <= kBconvLookupMaxWords) {
    BconvLookupAvx2(args);
  } else {
    BconvDirectAvx2(args);
  }
}

}  // namespace bitmill
