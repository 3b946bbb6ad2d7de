// The convolutions of conv_tile.cuh by products of a whole group of four warps (wgmma, compute
// capability 9.0), which is the only way to the full rate there: 128 pixels by 128 or 64 outputs.
//
// Both operands lie in shared memory. A stage of a pixel or output is 64 bytes, a line; 8 lines are
// 512 bytes, and within these the four quarters of a line change places by its number, so that
// neither the copies nor the products meet in a bank (the 64-byte swizzle of the PTX manual).
// Products of 256 bits or 32 bytes are half a line: the second half begins 32 bytes further.
//
// Products of one stage run while the next is copied and the bits of the pixels are counted: a
// slot of shared memory is filled anew two stages after its products were enqueued, which by then
// every thread has waited for.
#pragma once

template <TileMode mode_, int outputs_>
struct GroupShape {
  static constexpr TileMode mode = mode_;
  static constexpr int warps_n = 1;  // all along pixels: 16 of each half of them
  static constexpr int threads = 128;
  static constexpr int pixels = 128;
  static constexpr int outputs = outputs_;
  static constexpr int tiles_m = 2;
  static constexpr int tiles_n = outputs / 8;
  static constexpr int planes = mode == kTernaryTile ? 2 : 1;
  static constexpr int stage_bytes = 64;
  static constexpr int stages = 4;
  static constexpr int pixel_stage = pixels * stage_bytes;
  static constexpr int stage = pixel_stage + planes * outputs * stage_bytes;
  static constexpr int row_ints = outputs + 4;
  static constexpr int shared_bytes = stages * stage > pixels * row_ints * 4
                                          ? stages * stage
                                          : pixels * row_ints * 4;
  static constexpr bool bits = mode == kOneBitTile || mode == kTernaryTile;
  static constexpr int m_pixels = 64;

  BITMILL_FUNCTION static int WarpPixel(const int warp) { return warp * 16; }
  // Line thread / 4, quarter thread % 4, in its place among the four.
  BITMILL_FUNCTION static int CopyPlace(const int thread) {
    return (thread * 16) ^ ((thread / 8 % 4) * 16);
  }
};

// The descriptor of lines in shared memory, the first at a multiple of 512 bytes, or half a line
// further: bits 0 to 13 the address, 32 to 45 the distance from 8 lines to the next, both in units
// of 16 bytes, 62 and 63 the swizzle of 64 bytes. Bits 16 to 29, the distance along K, are not read
// with a swizzle.
BITMILL_FUNCTION ulong bm_group_matrix(const uchar* shared) {
  const ulong lines = 8 * 64 / 16, swizzle = 2;
  return static_cast<ulong>((bm_shared_offset(shared) & 0x3ffffu) >> 4) |
         static_cast<ulong>(1) << 16 | lines << 32 | swizzle << 62;
}

template <typename Shape>
BITMILL_FUNCTION void bm_group_multiply(TileSums<Shape>& sums, const uchar* slot) {
  BITMILL_UNROLL
  for (int plane = 0; plane < Shape::planes; ++plane) {
    BITMILL_UNROLL
    for (int half = 0; half < 2; ++half) {
      const ulong weights = bm_group_matrix(
          slot + Shape::pixel_stage + plane * Shape::outputs * Shape::stage_bytes + half * 32);
      BITMILL_UNROLL
      for (int m = 0; m < Shape::tiles_m; ++m) {
        bm_group_product<Shape::bits>(
            sums.acc[m], bm_group_matrix(slot + m * Shape::m_pixels * Shape::stage_bytes + half * 32),
            weights);
      }
    }
  }
}

// A lane counts a quarter of the line of each of its pixels.
template <typename Shape>
BITMILL_FUNCTION void bm_group_count(TileSums<Shape>& sums, const uchar* slot) {
  const int lane = bm_thread() % 32, warp = bm_thread() / 32;
  const uchar* const from = slot + Shape::WarpPixel(warp) * Shape::stage_bytes + Shape::CopyPlace(lane);
  BITMILL_UNROLL
  for (int q = 0; q < 4; ++q) {
    sums.count[q / 2][q % 2].Add(
        bm_load_quad(from + bm_fragment_pixel<Shape>(q) * Shape::stage_bytes));
  }
}

// Nothing that reads or writes the sums moves across this.
template <typename Shape>
BITMILL_FUNCTION void bm_group_sums(TileSums<Shape>& sums) {
  BITMILL_UNROLL
  for (int m = 0; m < Shape::tiles_m; ++m) {
    BITMILL_UNROLL
    for (int n = 0; n < Shape::tiles_n; ++n) {
      BITMILL_UNROLL
      for (int k = 0; k < 4; ++k) bm_group_sum(sums.acc[m][n][k]);
    }
  }
}

template <typename Shape>
BITMILL_FUNCTION void bm_conv_group(uchar* arena, const uchar* constants, const int* all_params,
                                    const int step, const int rows) {
  const int* const p = all_params + static_cast<long>(step) * kStepParams;
  const int out_pixels = p[kOutHeight] * p[kOutWidth];
  const long first = static_cast<long>(bm_tile_x()) * Shape::pixels;
  const long first_row = first / out_pixels;
  const int first_pixel = static_cast<int>(first - first_row * out_pixels);
  const int stages = p[kStages];
  constexpr int kAhead = Shape::stages - 2;  // stages that are copied before they are needed

  TileLoader<Shape> loader;
  loader.Start(p, arena, constants, first_row, first_pixel, rows);
  TileSums<Shape> sums;
  sums.Clear();
  for (int s = 0; s < kAhead; ++s) {
    if (s < stages) loader.Fetch(s, bm_shared() + s * Shape::stage);
    bm_copy_commit();
  }
  bm_group_sums<Shape>(sums);  // zeros are written here, not between products
  int slot = 0, next = kAhead;
  BITMILL_NO_UNROLL
  for (int s = 0; s < stages; ++s) {
    bm_copy_wait<kAhead - 1>();
    bm_group_publish();
    bm_sync();  // stage s is here, and the products of stage s - 2 are done
    uchar* const now = bm_shared() + slot * Shape::stage;
    bm_group_begin();
    bm_group_multiply<Shape>(sums, now);
    bm_group_commit();
    if (s + kAhead < stages) loader.Fetch(s + kAhead, bm_shared() + next * Shape::stage);
    bm_copy_commit();
    if (Shape::bits) bm_group_count<Shape>(sums, now);
    bm_group_wait<1>();
    slot = slot + 1 == Shape::stages ? 0 : slot + 1;
    next = next + 1 == Shape::stages ? 0 : next + 1;
  }
  bm_group_wait<0>();
  bm_group_sums<Shape>(sums);
  sums.Settle();
  bm_store_tile<Shape>(p, arena, constants, sums, first_row, first_pixel, rows);
}
