// How a convolution's output pixels become rows of tiles. Private to files that end in _amx.cc.
#pragma once

#include <stdint.h>

#include "kernels/qconv/qconv_parts.h"
#include "kernels/tiles_amx.h"

namespace bitmill {

// Weights of 16 channels on their way to tiles of bytes, 16 steps a tile, zeros behind the last.
// Lanes of a missing block (the 8 channels behind an odd number of blocks) get whatever; no output
// shows them.
struct QconvExpansion {
  const uint8_t* units;
  int64_t unit_bytes;  // from one to the next: 64, or 32 of a block alone
  int64_t steps;       // left; 0 or less: done
  int8_t* tiles;
};
QconvExpansion QconvExpansionOf(const QconvArgs& args, int64_t channel_tile, int8_t* tiles);
// Makes the next tile.
using QconvExpandFn = void (*)(QconvExpansion& expansion);
QconvExpandFn QconvExpandTileAmx(QconvWeights kind);

namespace {  // a copy for each file, as each may have instructions of its own

inline constexpr int64_t kQconvStepBytes = 4;
inline constexpr int64_t kQconvTileSteps = kTileRowBytes / kQconvStepBytes;

inline int64_t RoundUpTo(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

inline int64_t QconvPixelsOf(const QconvArgs& args) {
  return int64_t{args.batch} * args.out_h * args.out_w;
}

// How positions, the rows of tiles, follow each other.
struct QconvGrid {
  bool copied;             // windows: positions are pixels, from image to image
  bool runs_on;            // from one output line to the next
  int64_t position_bytes;  // in the input
  int64_t line_positions;  // from one output line to the next, where tiles run on
  const uint8_t* last;     // window of the last pixel: no row of a tile may lie behind it
};

// Whether the steps of every tile are one run.
inline bool QconvStepsAreRuns(const QconvArgs& args) {
  if (args.steps % kQconvTileSteps != 0) return false;
  bool runs = true;
  for (int64_t s = 1; s < args.steps; ++s) {
    runs &=
        s % kQconvTileSteps == 0 || args.step_bytes[s] - args.step_bytes[s - 1] == kQconvStepBytes;
  }
  return runs;
}

inline QconvGrid QconvGridOf(const QconvArgs& args) {
  const int64_t line_bytes = args.stride_h * args.row_bytes;
  QconvGrid grid = {};
  grid.position_bytes = int64_t{args.stride_w} * args.pixel_bytes;
  grid.last = args.input + (args.batch - 1) * args.image_bytes + (args.out_h - 1) * line_bytes +
              (args.out_w - 1) * grid.position_bytes;
  const int64_t copied_tiles = RoundUpTo(QconvPixelsOf(args), kTileRows) / kTileRows;
  int64_t line_tiles = args.out_h * (RoundUpTo(args.out_w, kTileRows) / kTileRows);
  if (args.out_w == 1) {
    grid.position_bytes = line_bytes;
    grid.line_positions = 1;
  } else if (line_bytes % grid.position_bytes == 0) {
    grid.line_positions = line_bytes / grid.position_bytes;
  }
  if (grid.line_positions >= args.out_w || args.out_h == 1) {
    const int64_t positions = (args.out_h - 1) * grid.line_positions + args.out_w;
    const int64_t tiles = RoundUpTo(positions, kTileRows) / kTileRows;
    grid.runs_on = tiles <= line_tiles;
    if (grid.runs_on) line_tiles = tiles;
  }
  // A copy costs about as much as products with 20 channels.
  const int64_t copies = 20 * copied_tiles / args.out_channels;
  grid.copied = !QconvStepsAreRuns(args) || args.batch * line_tiles > copied_tiles + copies;
  return grid;
}

// 16 positions: the first is of pixel (line, column) of an image; it may lie between lines.
struct QconvTile {
  int64_t image, line, column;
};

// The tile behind `tile`; its image is args.batch at the end.
inline QconvTile NextQconvTile(const QconvArgs& args, const QconvGrid& grid, QconvTile tile) {
  tile.column += kTileRows;
  if (grid.copied) {
    while (tile.column >= args.out_w) {
      tile.column -= args.out_w;
      if (++tile.line < args.out_h) continue;
      tile.line = 0;
      if (++tile.image == args.batch) return {args.batch, 0, 0};
    }
    return tile;
  }
  if (grid.runs_on && args.out_h > 1) {
    while (tile.column >= grid.line_positions) {
      tile.column -= grid.line_positions;
      ++tile.line;
    }
  }
  if (tile.column >= args.out_w) tile = {tile.image, tile.line + 1, 0};
  if (tile.line >= args.out_h) tile = {tile.image + 1, 0, 0};
  return tile;
}

// Calls run(row, count, image, line, column) for each run of rows of `tile` that are neighbouring
// pixels of a line.
template <typename Run>
inline void ForQconvRuns(const QconvArgs& args, const QconvGrid& grid, QconvTile tile, Run run) {
  for (int64_t row = 0; row < kTileRows;) {
    const int64_t left = args.out_w - tile.column;
    const int64_t count = left < kTileRows - row ? left : kTileRows - row;
    run(row, count, tile);
    row += count;
    if (!grid.copied) {
      if (!grid.runs_on) return;
      row += grid.line_positions - args.out_w;
    }
    tile.column = 0;
    if (++tile.line < args.out_h) continue;
    if (!grid.copied || tile.image + 1 == args.batch) return;
    tile.line = 0;
    ++tile.image;
  }
}

inline const uint8_t* QconvWindowOf(const QconvArgs& args, const QconvTile& tile) {
  return args.input + tile.image * args.image_bytes + tile.line * args.stride_h * args.row_bytes +
         tile.column * args.stride_w * args.pixel_bytes;
}

}  // namespace
}  // namespace bitmill
