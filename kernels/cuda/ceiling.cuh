// What tiles are measured against: products whose operands are in registers, eight accumulators a
// warp so that none waits for the last. `step` is the number of turns of eight products; a thread
// writes one number so that nothing can be left out.
#pragma once

template <bool bits>
BITMILL_FUNCTION int bm_ceiling_sum(const uint item, const int turns) {
  int sums[8][4];
  BITMILL_UNROLL
  for (int t = 0; t < 8; ++t) {
    BITMILL_UNROLL
    for (int k = 0; k < 4; ++k) sums[t][k] = 0;
  }
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
  return sum;
}

template <bool bits>
BITMILL_FUNCTION void bm_ceiling(uchar* arena, const int turns) {
  const uint item = get_global_id(0);
  reinterpret_cast<int*>(arena)[item] = bm_ceiling_sum<bits>(item, turns);
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

// The same for `bitmill devices --measure` (backends/device/device_speed.h), by items and kSpan as
// kernels/opencl/ceiling.cl has them: kSpan times 2048 bits a thread.
constexpr int kCountedAtOnce = 8;  // numbers of 32 bits

BITMILL_KERNEL(bm_count_words) {
  BITMILL_ITEM
  uint x = static_cast<uint>(item) * 2654435761u;
  uint words[kCountedAtOnce];
  int counts[kCountedAtOnce];
  BITMILL_UNROLL
  for (int k = 0; k < kCountedAtOnce; ++k) {
    words[k] = x * (2 * k + 1);
    counts[k] = 0;
  }
  for (int n = 0; n < p[kSpan] * 8; ++n) {
    BITMILL_UNROLL
    for (int k = 0; k < kCountedAtOnce; ++k) counts[k] += bm_count(words[k] ^ x);
    x += 2246822519u;
  }
  int sum = 0;
  BITMILL_UNROLL
  for (int k = 0; k < kCountedAtOnce; ++k) sum += counts[k];
  BITMILL_OUTPUT(ulong)[item] = static_cast<ulong>(sum);
}

// With a count for every fourth word, as the tiles count (BitCount).
BITMILL_KERNEL(bm_count_carries) {
  BITMILL_ITEM
  uint x = static_cast<uint>(item) * 2654435761u;
  uint words[kCountedAtOnce];
  BITMILL_UNROLL
  for (int k = 0; k < kCountedAtOnce; ++k) words[k] = x * (2 * k + 1);
  BitCount low, high;
  low.Clear();
  high.Clear();
  for (int n = 0; n < p[kSpan] * 8; ++n) {
    low.Add({words[0] ^ x, words[1] ^ x, words[2] ^ x, words[3] ^ x});
    high.Add({words[4] ^ x, words[5] ^ x, words[6] ^ x, words[7] ^ x});
    x += 2246822519u;
  }
  BITMILL_OUTPUT(ulong)[item] = static_cast<ulong>(low.Total() + high.Total());
}

// On tensor cores, by the products of a warp: of bits, or of as many bytes where bits are emulated.
BITMILL_KERNEL(bm_count_products) {
  BITMILL_ITEM
  constexpr bool kBits = BITMILL_B1_NATIVE;
  const int turns = kBits ? p[kSpan] / 4 : p[kSpan] * 2;  // 8 x 128 bits a lane, or 8 x 128 bytes
  const int sum = bm_ceiling_sum<kBits>(static_cast<uint>(item), turns);
  BITMILL_OUTPUT(ulong)[item] = static_cast<ulong>(sum);
}

// The same of groups, on 9.0; a turn is 65536 bits or 8192 bytes a thread. Groups of 128 threads.
#define BITMILL_GROUP_LINES __shared__ __align__(1024) uchar lines[kGroupCeilingBytes];

template <bool bits>
BITMILL_FUNCTION void bm_group_ceiling(uchar* arena, const int turns) {
  BITMILL_GROUP_LINES
  const int sum = bm_group_ceiling_sum<bits>(lines, turns);
  reinterpret_cast<int*>(arena)[get_global_id(0)] = sum;
}

extern "C" __global__ void __launch_bounds__(128, 2)
    bm_ceiling_group_bits(uchar* arena, const uchar* /*constants*/, const int* /*all_params*/,
                          const int step, const int /*rows*/) {
  if constexpr (BITMILL_GROUP_NATIVE) {
    bm_group_ceiling<true>(arena, step);
  } else {
    bm_trap();
  }
}

extern "C" __global__ void __launch_bounds__(128, 2)
    bm_ceiling_group_bytes(uchar* arena, const uchar* /*constants*/, const int* /*all_params*/,
                           const int step, const int /*rows*/) {
  if constexpr (BITMILL_GROUP_NATIVE) {
    bm_group_ceiling<false>(arena, step);
  } else {
    bm_trap();
  }
}

// kItems is whole groups.
extern "C" __global__ void __launch_bounds__(128, 2)
    bm_count_group_bits(uchar* arena, const uchar* constants, const int* all_params, const int step,
                        const int /*rows*/) {
  if constexpr (BITMILL_GROUP_NATIVE) {
    BITMILL_ITEM
    BITMILL_GROUP_LINES
    const int sum = bm_group_ceiling_sum<true>(lines, p[kSpan] / 32);
    BITMILL_OUTPUT(ulong)[item] = static_cast<ulong>(sum);
  } else {
    bm_trap();
  }
}
