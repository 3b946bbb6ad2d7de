// Low-bit convolutions; a dense layer is one over a single pixel. An item computes 8 outputs of one
// pixel, so that the input is loaded once for 8 products and 8 comparisons give a finished byte of
// bits. Neighbouring items are neighbouring octets of one pixel.
//
// Taps outside the image are skipped; a border of +1 or -1 adds the sums of their weights.

// Bits x 1-bit weights: acc = (products) - 2 * popcount(x xor w). Bits past the last channel are
// zero in both. Bits x ternary weights: acc = (weights that are not 0) - 2 * popcount((x xor sign)
// and mask). Groups are zeros in the mask; an octet reads only the words where it has others.
// `counts` holds what a tap of all +1 gives: the channels, or the weights that are not 0.
BITMILL_KERNEL(bm_conv_bits) {
  BITMILL_ITEM
  const int octets = p[kOutOctets];
  const int octet = item % octets;
  const int pixel = item / octets;
  const int first = octet * kOctet;
  __global uchar* out = BITMILL_OUTPUT(uchar);
  int acc[kOctet];
  for (int k = 0; k < kOctet; ++k) acc[k] = 0;
  if (first >= p[kOutChannels]) {  // fills the last word
    bm_store_octet(p, out, pixel, first, acc);
    return;
  }
  const int span = p[kSpan];
  const int pixel_words = p[kInPixelBytes] / 8;
  const int taps = p[kKernelH] * p[kKernelW];
  const int ternary = p[kTernary];
  __global const ulong* in =
      BITMILL_INPUT(ulong) + BITMILL_CONSTANT(int, p[kSpanFirst])[octet];
  __global const ulong* w =
      BITMILL_CONSTANT(ulong, p[kWeights]) + (long)octet * p[kOctetWeights];
  __global const int* counts = BITMILL_CONSTANT(int, p[kCounts]) + (long)octet * taps * kOctet;
  __global const int* sums = BITMILL_CONSTANT(int, p[kTapSums]) + (long)octet * taps * kOctet;
  const int border = p[kBorder];
  const int top = pixel / p[kOutWidth] * p[kStrideH] - p[kPadTop];
  const int left = pixel % p[kOutWidth] * p[kStrideW] - p[kPadLeft];
  ulong differ[kOctet];  // as wide as the words, so that compilers make one vector of the eight
  for (int k = 0; k < kOctet; ++k) differ[k] = 0;
  for (int i = 0; i < p[kKernelH]; ++i) {
    const int y = top + i * p[kDilationH];
    for (int j = 0; j < p[kKernelW]; ++j) {
      const int x = left + j * p[kDilationW];
      if (y < 0 || y >= p[kInHeight] || x < 0 || x >= p[kInWidth]) {
        if (border != 0) {
          for (int k = 0; k < kOctet; ++k) acc[k] += border * sums[k];
        }
      } else {
        __global const ulong* from = in + (long)(y * p[kInWidth] + x) * pixel_words;
        for (int k = 0; k < kOctet; ++k) acc[k] += counts[k];
        if (ternary != 0) {
          for (int n = 0; n < span; ++n) {
            const ulong bits = from[n];
            for (int k = 0; k < kOctet; ++k) {
              const ulong mask = w[(n * kOctet + k) * 2];
              differ[k] += popcount((bits ^ w[(n * kOctet + k) * 2 + 1]) & mask);
            }
          }
        } else {
          for (int n = 0; n < span; ++n) {
            const ulong bits = from[n];
            for (int k = 0; k < kOctet; ++k) differ[k] += popcount(bits ^ w[n * kOctet + k]);
          }
        }
      }
      w += span * kOctet * (1 + ternary);
      counts += kOctet;
      sums += kOctet;
    }
  }
  for (int k = 0; k < kOctet; ++k) acc[k] -= 2 * (int)differ[k];
  bm_finish(p, constants, out, pixel, first, acc);
}

// Codes x signed bytes: acc = sum of w * (code - zero point).
BITMILL_KERNEL(bm_conv_codes) {
  BITMILL_ITEM
  const int octets = p[kOutOctets];
  const int octet = item % octets;
  const int pixel = item / octets;
  const int first = octet * kOctet;
  __global uchar* out = BITMILL_OUTPUT(uchar);
  int acc[kOctet];
  for (int k = 0; k < kOctet; ++k) acc[k] = 0;
  if (first >= p[kOutChannels]) {
    bm_store_octet(p, out, pixel, first, acc);
    return;
  }
  const int span = p[kSpan];
  const int taps = p[kKernelH] * p[kKernelW];
  __global const uchar* in = BITMILL_INPUT(uchar) + BITMILL_CONSTANT(int, p[kSpanFirst])[octet];
  __global const BITMILL_INT8* w =
      BITMILL_CONSTANT(BITMILL_INT8, p[kWeights]) + (long)octet * p[kOctetWeights];
  __global const int* sums = BITMILL_CONSTANT(int, p[kTapSums]) + (long)octet * taps * kOctet;
  const int border = p[kBorder];
  const int zero_point = p[kZeroPoint];
  const int top = pixel / p[kOutWidth] * p[kStrideH] - p[kPadTop];
  const int left = pixel % p[kOutWidth] * p[kStrideW] - p[kPadLeft];
  for (int i = 0; i < p[kKernelH]; ++i) {
    const int y = top + i * p[kDilationH];
    for (int j = 0; j < p[kKernelW]; ++j) {
      const int x = left + j * p[kDilationW];
      if (y < 0 || y >= p[kInHeight] || x < 0 || x >= p[kInWidth]) {
        if (border != 0) {
          for (int k = 0; k < kOctet; ++k) acc[k] += border * sums[k];
        }
      } else {
        __global const uchar* from = in + (long)(y * p[kInWidth] + x) * p[kInPixelBytes];
        for (int n = 0; n < span; ++n) {
          const int q = (int)from[n] - zero_point;
          for (int k = 0; k < kOctet; ++k) acc[k] += q * (int)w[n * kOctet + k];
        }
      }
      w += span * kOctet;
      sums += kOctet;
    }
  }
  bm_finish(p, constants, out, pixel, first, acc);
}
