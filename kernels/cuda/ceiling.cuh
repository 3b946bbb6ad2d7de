// What tiles are measured against: products whose operands are in registers, eight accumulators a
// warp so that none waits for the last. `step` is the number of turns of eight products; a thread
// writes one number so that nothing can be left out.
#pragma once

template <bool bits>
BITMILL_FUNCTION void bm_ceiling(uchar* arena, const int turns) {
  int sums[8][4];
  BITMILL_UNROLL
  for (int t = 0; t < 8; ++t) {
    BITMILL_UNROLL
    for (int k = 0; k < 4; ++k) sums[t][k] = 0;
  }
  const uint item = get_global_id(0);
  const uint a = item * 2654435761u, b = item * 2246822519u;  // any odd numbers
  for (int n = 0; n < turns; ++n) {
    BITMILL_UNROLL
    for (int t = 0; t < 8; ++t) {
      if (bits) {
        bm_mma_bits(sums[t], a, a ^ 0x5bd1e995u, a + 77u, a + 99u, b, b ^ 0x1b873593u);
      } else {
        bm_mma_bytes(sums[t], a, a ^ 0x5bd1e995u, a + 77u, a + 99u, b, b ^ 0x1b873593u);
      }
    }
  }
  int sum = 0;
  BITMILL_UNROLL
  for (int t = 0; t < 8; ++t) {
    BITMILL_UNROLL
    for (int k = 0; k < 4; ++k) sum += sums[t][k];
  }
  reinterpret_cast<int*>(arena)[item] = sum;
}

extern "C" __global__ void bm_ceiling_bits(uchar* arena, const uchar* /*constants*/,
                                           const int* /*all_params*/, const int step,
                                           const int /*rows*/) {
  if (BITMILL_B1_NATIVE) {
    bm_ceiling<true>(arena, step);
  } else {
    bm_trap();
  }
}

extern "C" __global__ void bm_ceiling_bytes(uchar* arena, const uchar* /*constants*/,
                                            const int* /*all_params*/, const int step,
                                            const int /*rows*/) {
  bm_ceiling<false>(arena, step);
}
