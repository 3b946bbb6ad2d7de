// What binary layers are measured against: counting the bits of words that are in registers
// already. An item counts kSpan times 32 words, each another than the last time, and writes the sum
// so that nothing can be left out. Word by word, and in vectors of 8: which is faster depends on
// the device.

// Any odd number: what the words are compared with changes every time.
#define BITMILL_STRIDE ((ulong)0x9e3779b97f4a7c15)

BITMILL_KERNEL(bm_count_words) {
  BITMILL_ITEM
  ulong x = (ulong)item * BITMILL_STRIDE;
  ulong words[kOctet];
  ulong counts[kOctet];
  for (int k = 0; k < kOctet; ++k) {
    words[k] = x * (ulong)(2 * k + 1);
    counts[k] = 0;
  }
  for (int n = 0; n < 4 * p[kSpan]; ++n) {
    for (int k = 0; k < kOctet; ++k) counts[k] += popcount(words[k] ^ x);
    x += BITMILL_STRIDE;
  }
  ulong sum = 0;
  for (int k = 0; k < kOctet; ++k) sum += counts[k];
  BITMILL_OUTPUT(ulong)[item] = sum;
}

BITMILL_KERNEL(bm_count_vectors) {
  BITMILL_ITEM
  ulong8 x = (ulong8)((ulong)item * BITMILL_STRIDE) + (ulong8)(1, 2, 3, 4, 5, 6, 7, 8);
  const ulong8 a = x * 3, b = x * 5, c = x * 7, d = x * 9;
  ulong8 in_a = 0, in_b = 0, in_c = 0, in_d = 0;
  for (int n = 0; n < p[kSpan]; ++n) {
    in_a += popcount(a ^ x);
    in_b += popcount(b ^ x);
    in_c += popcount(c ^ x);
    in_d += popcount(d ^ x);
    x += BITMILL_STRIDE;
  }
  const ulong8 sum = in_a + in_b + in_c + in_d;
  BITMILL_OUTPUT(ulong)[item] =
      sum.s0 + sum.s1 + sum.s2 + sum.s3 + sum.s4 + sum.s5 + sum.s6 + sum.s7;
}
