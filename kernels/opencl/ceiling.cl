// What binary layers are measured against: counting the bits of words that are in registers
// already. An item counts kSpan times 32 words, each another than the last time, and writes the sum
// so that nothing can be left out. Word by word, in vectors of 8, and in vectors whose bits are
// added before they are counted (carry_save.cl), 16 to a count, or that are only added: which is
// fastest depends on the device.

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

BITMILL_FUNCTION
ulong bm_sum8(const ulong8 x) {
  return x.s0 + x.s1 + x.s2 + x.s3 + x.s4 + x.s5 + x.s6 + x.s7;
}

BITMILL_WIDE BITMILL_KERNEL(bm_count_vectors) {
  BITMILL_ITEM
  ulong8 x = (ulong8)((ulong)item * BITMILL_STRIDE) + (ulong8)(1, 2, 3, 4, 5, 6, 7, 8);
  const ulong8 a = x * 3, b = x * 5, c = x * 7, d = x * 9;
  ulong8 in_a = 0, in_b = 0, in_c = 0, in_d = 0;
  for (int n = 0; n < p[kSpan]; ++n) {
    in_a += bm_count8(a ^ x);
    in_b += bm_count8(b ^ x);
    in_c += bm_count8(c ^ x);
    in_d += bm_count8(d ^ x);
    x += BITMILL_STRIDE;
  }
  BITMILL_OUTPUT(ulong)[item] = bm_sum8(in_a + in_b + in_c + in_d);
}

// kSpan is a multiple of 4.
BITMILL_WIDE BITMILL_KERNEL(bm_count_carries) {
  BITMILL_ITEM
  ulong8 x = (ulong8)((ulong)item * BITMILL_STRIDE) + (ulong8)(1, 2, 3, 4, 5, 6, 7, 8);
  const ulong8 a = x * 3, b = x * 5, c = x * 7, d = x * 9;
  const ulong8 e = x * 11, f = x * 13, g = x * 17, h = x * 19;
  ulong8 ones = 0, twos = 0, fours = 0, eights = 0, sum = 0;
  for (int n = 0; n < p[kSpan] / 4; ++n) {
    ulong8 t0, t1, f0, f1, e0, e1, s;
    BITMILL_ADD(ones, t0, a ^ x, b ^ x)
    BITMILL_ADD(ones, t1, c ^ x, d ^ x)
    BITMILL_ADD(twos, f0, t0, t1)
    BITMILL_ADD(ones, t0, e ^ x, f ^ x)
    BITMILL_ADD(ones, t1, g ^ x, h ^ x)
    BITMILL_ADD(twos, f1, t0, t1)
    BITMILL_ADD(fours, e0, f0, f1)
    x += BITMILL_STRIDE;
    BITMILL_ADD(ones, t0, a ^ x, b ^ x)
    BITMILL_ADD(ones, t1, c ^ x, d ^ x)
    BITMILL_ADD(twos, f0, t0, t1)
    BITMILL_ADD(ones, t0, e ^ x, f ^ x)
    BITMILL_ADD(ones, t1, g ^ x, h ^ x)
    BITMILL_ADD(twos, f1, t0, t1)
    BITMILL_ADD(fours, e1, f0, f1)
    BITMILL_ADD(eights, s, e0, e1)
    x += BITMILL_STRIDE;
    sum += bm_count8(s);
  }
  sum = sum + sum + bm_count8(eights);
  sum = sum + sum + bm_count8(fours);
  sum = sum + sum + bm_count8(twos);
  sum = sum + sum + bm_count8(ones);
  BITMILL_OUTPUT(ulong)[item] = bm_sum8(sum);
}

// As bm_conv_slices adds, without counting: the bits of a place of many sums in one word. kSpan is a
// multiple of 16.
BITMILL_WIDE BITMILL_KERNEL(bm_count_slices) {
  BITMILL_ITEM
  ulong8 x = (ulong8)((ulong)item * BITMILL_STRIDE) + (ulong8)(1, 2, 3, 4, 5, 6, 7, 8);
  const ulong8 a = x * 3, b = x * 5, c = x * 7, d = x * 9;
  const ulong8 e = x * 11, f = x * 13, g = x * 17, h = x * 19;
  ulong8 ones = 0, twos = 0, fours = 0, eights = 0, of16 = 0, of32 = 0, carry = 0;
  ulong8 more[kSlices - 6];
  for (int k = 0; k < kSlices - 6; ++k) more[k] = 0;
  for (int n = 0; n < p[kSpan] / 16; ++n) {
    ulong8 pair = 0;
    for (int upper = 0; upper < 2; ++upper) {
      ulong8 even = 0;
      for (int quarter = 0; quarter < 2; ++quarter) {
        ulong8 t0, t1, f0, f1, e0, e1, s;
        BITMILL_ADD(ones, t0, a ^ x, b ^ x)
        BITMILL_ADD(ones, t1, c ^ x, d ^ x)
        BITMILL_ADD(twos, f0, t0, t1)
        BITMILL_ADD(ones, t0, e ^ x, f ^ x)
        BITMILL_ADD(ones, t1, g ^ x, h ^ x)
        BITMILL_ADD(twos, f1, t0, t1)
        BITMILL_ADD(fours, e0, f0, f1)
        x += BITMILL_STRIDE;
        BITMILL_ADD(ones, t0, a ^ x, b ^ x)
        BITMILL_ADD(ones, t1, c ^ x, d ^ x)
        BITMILL_ADD(twos, f0, t0, t1)
        BITMILL_ADD(ones, t0, e ^ x, f ^ x)
        BITMILL_ADD(ones, t1, g ^ x, h ^ x)
        BITMILL_ADD(twos, f1, t0, t1)
        BITMILL_ADD(fours, e1, f0, f1)
        x += BITMILL_STRIDE;
        BITMILL_ADD(eights, s, e0, e1)
        if (quarter == 0) {
          even = s;
        } else {
          BITMILL_ADD(of16, carry, even, s)
        }
      }
      if (upper == 0) {
        pair = carry;
      } else {
        BITMILL_ADD(of32, carry, pair, carry)
      }
    }
    for (int k = 0; k < kSlices - 6; ++k) {
      const ulong8 slice = more[k];
      more[k] = slice ^ carry;
      carry &= slice;
    }
  }
  ulong8 all = ones ^ twos ^ fours ^ eights ^ of16 ^ of32;
  for (int k = 0; k < kSlices - 6; ++k) all ^= more[k];
  BITMILL_OUTPUT(ulong)[item] = bm_sum8(all);
}
