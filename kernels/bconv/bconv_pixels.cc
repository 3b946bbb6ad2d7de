#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void ListBconvPixels(const BconvArgs& args, int64_t first, int64_t count, BconvPixel* pixels) {
  const int64_t padded_channels = (int64_t{args.out_channels} + 7) / 8 * 8;
  int64_t x = first % args.out_w;
  int64_t y = first / args.out_w % args.out_h;
  int64_t n = first / args.out_w / args.out_h;
  const int64_t step = int64_t{args.stride_w} * args.pixel_words;
  for (const BconvPixel* const end = pixels + count; pixels != end;) {
    const int64_t in_line = args.out_w - x < end - pixels ? args.out_w - x : end - pixels;
    const uint64_t* window =
        args.input + n * args.image_words + y * args.stride_h * args.row_words + x * step;
    int64_t out = n * args.out_image + y * args.out_row + x * args.out_pixel;
    for (int64_t i = 0; i < in_line; ++i, window += step, out += args.out_pixel) {
      pixels[i] = {window, 0, out};
    }
    if (args.row_class != nullptr) {
      const int32_t* const classes = args.col_class + x;
      const int64_t row = int64_t{args.row_class[y]} * args.col_classes;
      for (int64_t i = 0; i < in_line; ++i) {
        pixels[i].table_row = (row + classes[i]) * padded_channels;
      }
    }
    pixels += in_line;
    x = 0;
    if (++y < args.out_h) continue;
    y = 0;
    ++n;
  }
}

int64_t BconvGroupCount(const BconvArgs& args) {
  if (args.sparse == nullptr) return 1;
  return (int64_t{args.out_channels} + args.sparse->group_channels - 1) /
         args.sparse->group_channels;
}

BconvGroup BconvGroupOf(const BconvArgs& args, int64_t group) {
  constexpr int64_t kLanes = 8;
  BconvGroup g = {};
  if (args.sparse == nullptr) {
    g.channels = args.out_channels;
    g.tap_words = args.tap_words;
    g.taps = args.taps;
    g.c_words = args.c_words;
    g.weights = args.weights;
  } else {
    const BconvSparse& sparse = *args.sparse;
    const int64_t first = sparse.first_word[group];
    g.channel = group * sparse.group_channels;
    g.channels = args.out_channels - g.channel;
    if (g.channels > sparse.group_channels) g.channels = sparse.group_channels;
    g.tap_words = sparse.words + first;
    g.taps = sparse.first_word[group + 1] - first;
    g.c_words = 1;
    // All groups before it are full.
    g.weights = args.weights + first * sparse.group_channels * args.planes;
  }
  g.words = g.taps * g.c_words;
  g.block_words = g.words * args.planes * kLanes;
  return g;
}

const int32_t* BconvPlacesOf(const BconvGroup& group, int64_t first, int64_t count,
                             int32_t* scratch) {
  if (group.c_words == 1) return group.tap_words + first;
  int64_t tap = first / group.c_words;
  int64_t word = first % group.c_words;
  for (int64_t i = 0; i < count; ++i) {
    scratch[i] = group.tap_words[tap] + static_cast<int32_t>(word);
    if (++word < group.c_words) continue;
    word = 0;
    ++tap;
  }
  return scratch;
}

}  // namespace bitmill
