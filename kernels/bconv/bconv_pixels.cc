#include "kernels/bconv/bconv_parts.h"

namespace bitmill {

void ListBconvPixels(const BconvArgs& args, int64_t first, int64_t count, BconvPixel* pixels) {
  const int64_t padded_channels = (int64_t{args.out_channels} + 7) / 8 * 8;
  int64_t x = first % args.out_w;
  int64_t y = first / args.out_w % args.out_h;
  int64_t n = first / args.out_w / args.out_h;
  for (int64_t i = 0; i < count; ++i) {
    pixels[i].window = args.input + n * args.image_words + y * args.stride_h * args.row_words +
                       x * args.stride_w * args.pixel_words;
    pixels[i].out = n * args.out_image + y * args.out_row + x * args.out_pixel;
    pixels[i].table_row = 0;
    if (args.row_class != nullptr) {
      const int64_t row = args.row_class[y];
      pixels[i].table_row = (row * args.col_classes + args.col_class[x]) * padded_channels;
    }
    if (++x < args.out_w) continue;
    x = 0;
    if (++y < args.out_h) continue;
    y = 0;
    ++n;
  }
}

}  // namespace bitmill
