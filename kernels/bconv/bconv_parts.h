// Pieces of binary convolutions that several instruction sets or several files of one share.
#pragma once

#include <stdint.h>

#include "kernels/bconv/bconv.h"

namespace bitmill {

struct BconvPixel {
  const uint64_t* window;
  int64_t table_row;  // first number of its class in base and limits
  int64_t out;        // first byte or element in the output
};

// Output pixels `first` to `first + count - 1`, row by row, image by image.
void ListBconvPixels(const BconvArgs& args, int64_t first, int64_t count, BconvPixel* pixels);

// Output channels that share a list of words: all of them, or a group of sparse weights.
struct BconvGroup {
  int64_t channel, channels;  // the first; how many, the last block may be partly filled
  const int32_t* tap_words;   // taps of c_words words each, in the order of the weights
  int64_t taps, c_words;
  int64_t words;            // taps * c_words
  const uint64_t* weights;  // of the group's first block
  int64_t block_words;      // from one block to the next
};
int64_t BconvGroupCount(const BconvArgs& args);
BconvGroup BconvGroupOf(const BconvArgs& args, int64_t group);
// Offsets of words `first` to `first + count - 1` of a group from the start of a window: its own
// list, or `scratch` (of `count`) filled.
const int32_t* BconvPlacesOf(const BconvGroup& group, int64_t first, int64_t count,
                             int32_t* scratch);

// AVX2, weights looked up as indices of small tables, a tile of pixels at a time. At most
// kBconvLookupMaxWords words a window (taps * c_words).
// `pieces`: all weights rearranged for it, or null.
void BconvLookupAvx2(const BconvArgs& args, const uint8_t* pieces);
int64_t BconvLookupBytesAvx2(const BconvArgs& args);  // of pieces
void PrepareBconvLookupAvx2(const BconvArgs& args, uint8_t* pieces);
// Weights of `blocks` blocks (at most 4 * vectors; block_words from one to the next) and `words`
// words as vectors of 32 output channels for the lookup: pieces[word][16][planes][vectors][32
// bytes], with
// 4 bits in each byte: the low halves of the word's eight bytes, then the high ones. Bytes 0 to 15
// alternate between blocks 0 and 1, the others between 2 and 3. Missing blocks are zero.
// Two planes become the weights of +1 and those of -1.
void RearrangeBconvWeightsAvx2(const uint64_t* weights, int32_t planes, int64_t block_words,
                               int64_t blocks, int64_t words, int64_t vectors, uint8_t* pieces);
struct BconvLookupLimits {
  int64_t table_row;  // -1: none loaded yet
  int16_t limits[128];
};
// Writes the outputs of one pixel and of `blocks` blocks (at most 16). sums: [blocks / 4 rounded
// up][blocks 0, 2, 1, 3 of four][8], each less 2^15.
void StoreBconvLookupAvx2(const BconvArgs& args, const BconvPixel& pixel, int64_t first_block,
                          int64_t blocks, const int16_t* sums, BconvLookupLimits* limits);
// AVX2, for very few pixels: adds the prepared rows of weights of the inputs that are -1. One
// plane and at most kBconvRowsMaxWords words a window. `rows` lie on a boundary of 64 bytes.
void BconvRowsAvx2(const BconvArgs& args, const uint8_t* rows);
int64_t BconvRowsBytesAvx2(const BconvArgs& args);
void PrepareBconvRowsAvx2(const BconvArgs& args, uint8_t* rows);
// AVX2, exclusive or and byte-wise popcount; any size. For few pixels.
void BconvDirectAvx2(const BconvArgs& args);

// Whether AVX-512 without vpopcntq leaves calls like this one to the lookup: windows of few words.
inline bool BconvLooksUpAvx512(const BconvArgs& args) {
  constexpr int64_t kMinPixels = 8;
  const int64_t most_words = args.planes == 1 ? 40 : 20;
  return args.sparse == nullptr && int64_t{args.batch} * args.out_h * args.out_w >= kMinPixels &&
         int64_t{args.taps} * args.c_words <= most_words;
}

// AVX-512: writes the outputs of 1 or 2 blocks from `channel` on, given their differences
// counts[block][pixel][8].
void StoreBconvTileAvx512(const BconvArgs& args, const BconvPixel* pixels, int64_t pixel_count,
                          int64_t channel, int64_t blocks, const uint64_t* counts);

inline constexpr int64_t kSpanLanes = 16;
// Neighbouring pixels of one line and up to 32 channels, of which their counts of differences are
// known: those of 16 channels from `channel` on are counts[pixel][16], on a boundary of 64 bytes,
// and those of the next 16 lie `second` further.
struct BconvSpan {
  int64_t image, line, column, count;  // of the first pixel; pixels
  int64_t out;                         // of the first pixel, in the output
  int64_t channel;
  const int32_t* counts;
  int64_t second;
};
// AVX-512: writes their outputs.
void StoreBconvSpanAvx512(const BconvArgs& args, const BconvSpan& span);
// With args.finish, or planes; at most 16 pixels. Counts of 16 pixels may be read.
void FinishBconvSpanAvx512(const BconvArgs& args, const BconvSpan& span);

// Sums of a lane are 16 bits wide: 64 * 1023 < 2^16.
constexpr int32_t kBconvLookupMaxWords = 1023;
// Rows are listed on the stack.
constexpr int32_t kBconvRowsMaxWords = 256;

}  // namespace bitmill
