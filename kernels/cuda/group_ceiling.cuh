// What the tiles of conv_group.cuh are measured against: products of groups of four warps, whose
// operands lie in shared memory as theirs do and stay there. A stage of 128 pixels by 128 outputs is
// multiplied again and again; nothing is copied, counted or stored meanwhile.
#pragma once

constexpr int kGroupCeilingLines = 256;  // 128 of pixels, 128 of outputs
constexpr int kGroupCeilingBytes = kGroupCeilingLines * 64;

// `lines` is shared memory at a multiple of 1024 bytes; 128 threads. Returns the sum of this thread's
// sums. A turn is 2 x 2 products of 64 x 128 x 256 bits, or x 32 bytes.
template <bool bits>
BITMILL_FUNCTION int bm_group_ceiling_sum(uchar* lines, const int turns) {
  constexpr int kThreads = 128, kHalfPixels = 64 * 64, kPixels = 128 * 64;
  for (int i = bm_thread(); i < kGroupCeilingBytes / 16; i += kThreads) {
    const uint x = static_cast<uint>(i + 1) * 2654435761u;  // any odd numbers
    bm_store_quad(lines + i * 16, Quad{x, x * 2246822519u, x ^ 0x5bd1e995u, x + 0x1b873593u});
  }
  bm_group_publish();
  bm_sync();
  int sums[2][16][4];
  BITMILL_UNROLL
  for (int m = 0; m < 2; ++m) {
    BITMILL_UNROLL
    for (int n = 0; n < 16; ++n) {
      BITMILL_UNROLL
      for (int k = 0; k < 4; ++k) {
        sums[m][n][k] = 0;
        bm_group_sum(sums[m][n][k]);  // zeros are written here, not between products
      }
    }
  }
  BITMILL_NO_UNROLL
  for (int turn = 0; turn < turns; ++turn) {
    bm_group_begin();
    BITMILL_UNROLL
    for (int half = 0; half < 2; ++half) {
      const ulong weights = bm_group_matrix(lines + kPixels + half * 32);
      bm_group_product<bits>(sums[0], bm_group_matrix(lines + half * 32), weights);
      bm_group_product<bits>(sums[1], bm_group_matrix(lines + kHalfPixels + half * 32), weights);
    }
    bm_group_commit();
    bm_group_wait<1>();
  }
  bm_group_wait<0>();
  int sum = 0;
  BITMILL_UNROLL
  for (int m = 0; m < 2; ++m) {
    BITMILL_UNROLL
    for (int n = 0; n < 16; ++n) {
      BITMILL_UNROLL
      for (int k = 0; k < 4; ++k) {
        bm_group_sum(sums[m][n][k]);
        sum += sums[m][n][k];
      }
    }
  }
  return sum;
}
