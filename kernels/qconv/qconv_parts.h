// Pieces of low-bit convolutions that several instruction sets share.
#pragma once

#include <stdint.h>

#include "kernels/qconv/qconv.h"

namespace bitmill {

struct QconvPixel {
  const uint8_t* window;
  int64_t out;  // first element in the output
};

// Output pixels `first` to `first + count - 1`, row by row, image by image.
void ListQconvPixels(const QconvArgs& args, int64_t first, int64_t count, QconvPixel* pixels);

// Where the weights of a block lie: a unit of 32 bytes every unit_stride bytes.
struct QconvBlock {
  const uint8_t* units;
  int64_t unit_stride;  // 64 in a pair, 32 alone
};
QconvBlock QconvBlockOf(const QconvArgs& args, int64_t block);  // of dense weights

// Output channels that share their units: all of them, or a group of sparse weights.
struct QconvGroup {
  int64_t channel, channels;  // the first; how many, the last block may be partly filled
  const int32_t* units;       // sparse: their numbers, ascending; null if there are none
  int64_t unit_count;
  int64_t steps;           // of these units: the last of the window may be partly filled
  const uint8_t* weights;  // of the group's first pair
};
int64_t QconvGroupCount(const QconvArgs& args);
QconvGroup QconvGroupOf(const QconvArgs& args, int64_t group);
// `block`: within the group.
QconvBlock QconvBlockOf(const QconvGroup& group, int64_t block);
// step_bytes of steps `first` (a multiple of 8) to `first + count - 1` of a group: the window's, or
// `scratch` (of `count`) filled.
const int32_t* QconvStepsOf(const QconvArgs& args, const QconvGroup& group, int64_t first,
                            int64_t count, int32_t* scratch);
int64_t QconvUnitSteps(QconvWeights kind);

// Sums of 16 bits with sign that begin at `start` and hold the products of `steps` steps (two a
// step and sum) whatever their values; 0 steps when not even one fits or a pair would saturate.
struct QconvWordSums {
  int32_t steps;
  int32_t start;
};
QconvWordSums QconvWordSumsOf(const QconvArgs& args);

// Steps `first` (a multiple of 8) to `first + count - 1` of a block as signed bytes: 32 a step,
// `stride` bytes from step to step. AVX2.
void ExpandQconvWeightsAvx2(QconvWeights kind, const QconvBlock& block, int64_t first,
                            int64_t count, int8_t* out, int64_t stride);

// Which sections of the steps the sums are of: in between, int32 sums lie where the outputs will.
struct QconvSection {
  bool first = true, last = true;
};

// Adds base (or the sums of earlier sections) to sums[pixel][blocks * 8] and writes the outputs of
// `blocks` blocks from `channel` on. AVX2.
void StoreQconvTileAvx2(const QconvArgs& args, const QconvPixel* pixels, int64_t pixel_count,
                        int64_t channel, int64_t blocks, const int32_t* sums,
                        const QconvSection& section = QconvSection());

// Few pixels, "rows": their windows lie side by side, so that one stream of weights serves all.
inline constexpr int64_t kQconvTileRows = 4;  // that are multiplied at a time
inline constexpr int64_t kQconvStreamBlocks = 8;

// Some units of steps of up to kQconvTileRows rows. Unit u of row r is the activation bytes of
// (u * rows + r) * 4 * steps of a unit and on; zeros past the last step.
struct QconvRows {
  int64_t rows, units;
  const uint8_t* activations;
  // Null, or [units]: unit u of the weights belongs to activations of unit list[u] - list_first.
  const int32_t* list;
  int64_t list_first;
  int64_t pair_bytes;  // from the weights of a pair of blocks to those of the next
  // [row][i]: the sum of the activations of step i of all units, as masked codes need it.
  int32_t step_sums[kQconvTileRows][8];
};

// sums[row][block][8] = weights times activations; `units` of one or two blocks, one after the
// other, or of kQconvStreamBlocks in pairs.
using QconvRowsFn = void (*)(const QconvRows& rows, const uint8_t* units, int32_t* sums);
struct QconvRowsForm {
  QconvWeights kind;  // below 8 bits
  int64_t rows;
  int64_t blocks;  // 1, 2, or kQconvStreamBlocks if weights are dense and there is one row
  bool listed;
};
// Null: not for so many blocks.
using QconvRowsOfFn = QconvRowsFn (*)(const QconvRowsForm& form);

// The whole of a convolution of few pixels with weights below 8 bits. False, and nothing done,
// where there are more or wider ones. AVX2.
bool RunQconvRowsAvx2(const QconvArgs& args, QconvRowsOfFn kernel_of);

QconvRowsFn QconvRowsOfAvx2(const QconvRowsForm& form);
QconvRowsFn QconvRowsOfAvx512(const QconvRowsForm& form);
QconvRowsFn QconvRowsOfAvx512Vpopcnt(const QconvRowsForm& form);

}  // namespace bitmill
