// Layers of one output pixel whose window is the whole image, dense layers above all, for few rows:
// reading the weights is what takes time, so each is read once, 16 bytes a lane and 512 in a row a
// warp, and multiplied with all rows by the units that are not tensor cores, which keep up with
// memory for so few. The weights are those of the tiles (conv_tile.cuh), in the same place: which of
// the two computes a batch is decided when it is launched.
//
// A group has 8 outputs, its four warps every fourth stage each. In a warp a lane has a quarter of
// the line of output lane / 4.
//
// What is summed, with the names of conv_tile.cuh, K being the number of weights:
//   1-bit    sum(w x) = K - 2 count(x xor n)
//   ternary  sum(w x) = sum(w) + 2 (count(x and n) - count(x and p))
#pragma once

constexpr int kFewRows = 4;     // of a group
constexpr int kFewOutputs = 8;  // lanes of a line are 4

template <TileMode mode_>
struct FewShape {
  static constexpr TileMode mode = mode_;
  static constexpr int threads = 128, warps = threads / 32;
  static constexpr int pixels = kFewRows;
  static constexpr int outputs = kFewOutputs;
  static constexpr int planes = mode == kTernaryTile ? 2 : 1;
  static constexpr int stage_bytes = 64;
  static constexpr int shared_bytes = warps * kFewRows * kFewOutputs * 4;
};

BITMILL_FUNCTION int bm_count_quad(const Quad& q) {
  return bm_count(q.x) + bm_count(q.y) + bm_count(q.z) + bm_count(q.w);
}

// The lane's quarter of a stage of the window: 16 bytes, or 16 bits as bytes. Behind the window lies
// anything; it counts as zeros.
template <typename Shape>
BITMILL_FUNCTION Quad bm_few_window(const uchar* image, const int words, const int stage,
                                    const int quarter) {
  if (Shape::mode == kSpreadTile) {
    return bm_spread(*reinterpret_cast<const ushort*>(image + stage * 8 + quarter * 2));
  }
  const int word = stage * 8 + quarter * 2;
  Quad x = {0, 0, 0, 0};
  if (word < words) x = bm_load_quad(image + static_cast<long>(word) * 8);
  if (word + 1 >= words) x.z = x.w = 0;
  return x;
}

template <typename Shape>
BITMILL_FUNCTION int bm_few_product(const Quad& x, const Quad (&w)[Shape::planes]) {
  const Quad& a = w[0];
  const Quad& b = w[Shape::planes - 1];
  switch (Shape::mode) {
    case kOneBitTile:
      return bm_count_quad({x.x ^ a.x, x.y ^ a.y, x.z ^ a.z, x.w ^ a.w});
    case kTernaryTile:
      return bm_count_quad({x.x & ~b.x, x.y & ~b.y, x.z & ~b.z, x.w & ~b.w}) -
             bm_count_quad({x.x & a.x, x.y & a.y, x.z & a.z, x.w & a.w});
    default:
      return bm_dot4(x.x, a.x, bm_dot4(x.y, a.y, bm_dot4(x.z, a.z, bm_dot4(x.w, a.w, 0))));
  }
}

template <typename Shape>
BITMILL_FUNCTION void bm_few_rows(uchar* arena, const uchar* constants, const int* all_params,
                                  const int step, const int rows) {
  const int* const p = all_params + static_cast<long>(step) * kStepParams;
  const int lane = bm_thread() % 32, warp = bm_thread() / 32;
  const int first_output = bm_tile_y() * kFewOutputs;
  const int first_row = bm_tile_x() * kFewRows;
  const int words = p[kSpan] * p[kKernelH] * p[kKernelW];
  const long plane_bytes = static_cast<long>(p[kTileOutputs]) * Shape::stage_bytes;
  const int at = first_output % p[kTileOutputs] + lane / 4;
  const uchar* const weights =
      BITMILL_CONSTANT(uchar, p[kWeights]) +
      static_cast<long>(first_output / p[kTileOutputs]) * p[kStages] * Shape::planes * plane_bytes +
      at * Shape::stage_bytes + lane % 4 * 16;
  const uchar* image[kFewRows];
  int sums[kFewRows];
  BITMILL_UNROLL
  for (int r = 0; r < kFewRows; ++r) {
    const long row = first_row + r < rows ? first_row + r : 0;
    image[r] = BITMILL_INPUT(uchar);
    sums[r] = 0;
  }
  BITMILL_UNROLL_FEW
  for (int s = warp; s < p[kStages]; s += Shape::warps) {
    Quad w[Shape::planes];
    BITMILL_UNROLL
    for (int plane = 0; plane < Shape::planes; ++plane) {
      w[plane] = bm_load_quad(weights + (static_cast<long>(s) * Shape::planes + plane) * plane_bytes);
    }
    BITMILL_UNROLL
    for (int r = 0; r < kFewRows; ++r) {
      if (first_row + r >= rows) break;
      sums[r] += bm_few_product<Shape>(bm_few_window<Shape>(image[r], words, s, lane % 4), w);
    }
  }
  int* const shared = reinterpret_cast<int*>(bm_shared());
  BITMILL_UNROLL
  for (int r = 0; r < kFewRows; ++r) {
    uint sum = static_cast<uint>(sums[r]);
    sum += bm_shuffle_xor(sum, 1);
    sum += bm_shuffle_xor(sum, 2);
    if (lane % 4 == 0) shared[(warp * kFewRows + r) * kFewOutputs + lane / 4] = static_cast<int>(sum);
  }
  bm_sync();
  if (warp != 0) return;

  // A lane an output of a row.
  const int o = first_output + lane % kFewOutputs, octet = bm_tile_y();
  const long row = first_row + lane / kFewOutputs;
  int sum = 0;
  BITMILL_UNROLL
  for (int w = 0; w < Shape::warps; ++w) sum += shared[w * kFewRows * kFewOutputs + lane];
  if (Shape::mode == kOneBitTile) {
    sum = p[kInChannels] * p[kKernelH] * p[kKernelW] - 2 * sum;
  } else {
    if (Shape::mode == kTernaryTile) sum = 2 * sum;
    if (Shape::mode == kSpreadTile) sum = -2 * sum;
    sum += BITMILL_CONSTANT(int, p[kTotals])[o];
  }
  uint code = 0;
  if (row < rows && o < p[kOutChannels]) {
    code = static_cast<uint>(bm_finish_one(p, constants, BITMILL_OUTPUT(uchar), 0, o, sum));
  }
  if (p[kEpilogue] == kToFloat) return;
  uint byte = (code & 1u) << (lane % kFewOutputs);
  byte |= bm_shuffle_xor(byte, 1);
  byte |= bm_shuffle_xor(byte, 2);
  byte |= bm_shuffle_xor(byte, 4);
  if (row >= rows) return;
  uchar* const to = BITMILL_OUTPUT(uchar);
  if (p[kOutBits] == 0) {
    to[o] = static_cast<uchar>(code);
  } else if (lane % kFewOutputs == 0) {
    to[octet] = static_cast<uchar>(byte);
  }
}
