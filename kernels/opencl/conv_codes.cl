// Codes x signed bytes in vectors, with the tables of bm_conv_codes: an item computes 8 or 16 outputs
// of up to four pixels that follow one another. Weights are widened to lanes of 32 bits once for all
// of these pixels; a step is one multiplication and one addition of a vector for 8 products.

// `count` pixels from `pixel` on, `octets` (1 or 2) octets from `octet` on: both numbers are known
// when this is compiled. Pixels behind the last are computed as the last one, and not stored.
BITMILL_FUNCTION
void bm_code_run(__global const int* p, __global const uchar* constants, __global const uchar* in,
                 __global uchar* out, const int octet, const int pixel, const int count,
                 const int octets) {
  const int span = p[kSpan];
  const int taps = p[kKernelH] * p[kKernelW];
  const int zero_point = p[kZeroPoint];
  const int border = p[kBorder];
  const int pixels = p[kOutHeight] * p[kOutWidth];
  const int weights = p[kOctetWeights];
  __global const BITMILL_INT8* w =
      BITMILL_CONSTANT(BITMILL_INT8, p[kWeights]) + (long)octet * weights;
  __global const int* sums = BITMILL_CONSTANT(int, p[kTapSums]) + (long)octet * taps * kOctet;
  int8 acc[4][2];
  int top[4];
  int left[4];
  __global const uchar* from[4];
  int inside[4];  // all bits, or none
  for (int r = 0; r < count; ++r) {
    const int at = pixel + r < pixels ? pixel + r : pixels - 1;
    top[r] = at / p[kOutWidth] * p[kStrideH] - p[kPadTop];
    left[r] = at % p[kOutWidth] * p[kStrideW] - p[kPadLeft];
    for (int k = 0; k < octets; ++k) acc[r][k] = 0;
  }
  for (int i = 0; i < p[kKernelH]; ++i) {
    for (int j = 0; j < p[kKernelW]; ++j) {
      for (int r = 0; r < count; ++r) {
        const int y = top[r] + i * p[kDilationH];
        const int x = left[r] + j * p[kDilationW];
        const int is_inside = y >= 0 && y < p[kInHeight] && x >= 0 && x < p[kInWidth];
        inside[r] = -is_inside;
        from[r] = in + (is_inside ? (long)(y * p[kInWidth] + x) * p[kInPixelBytes] : 0);
        if (border == 0 || is_inside) continue;
        for (int k = 0; k < octets; ++k) {
          acc[r][k] += vload8((size_t)(k * taps), sums) * border;
        }
      }
      for (int n = 0; n < span; ++n) {
        const int8 first = convert_int8(vload8((size_t)n, w));
        const int8 second = octets > 1 ? convert_int8(vload8((size_t)n, w + weights)) : first;
        for (int r = 0; r < count; ++r) {
          const int q = ((int)from[r][n] - zero_point) & inside[r];
          acc[r][0] += first * q;
          if (octets > 1) acc[r][1] += second * q;
        }
      }
      w += span * kOctet;
      sums += kOctet;
    }
  }
  for (int r = 0; r < count; ++r) {
    if (pixel + r >= pixels) return;
    for (int k = 0; k < octets; ++k) {
      int finished[kOctet];
      vstore8(acc[r][k], 0, finished);
      bm_finish(p, constants, out, pixel + r, (octet + k) * kOctet, finished);
    }
  }
}

// The octets of an item are kBlocks, its pixels kRun; neighbouring items are neighbouring octets.
BITMILL_KERNEL(bm_conv_code_runs) {
  BITMILL_ITEM
  const int octets = p[kOutOctets];
  const int wide = p[kBlocks];
  const int item_octets = (octets + wide - 1) / wide;
  const int octet = item % item_octets * wide;
  const int pixel = item / item_octets * p[kRun];
  __global uchar* out = BITMILL_OUTPUT(uchar);
  // Two octets of one group, of which both have outputs.
  const int has_second = wide > 1 && (octet + 1) * kOctet < p[kOutChannels];
  if (octet * kOctet < p[kOutChannels]) {
    __global const uchar* in = BITMILL_INPUT(uchar) + BITMILL_CONSTANT(int, p[kSpanFirst])[octet];
    if (p[kRun] == 1) {
      if (has_second != 0) {
        bm_code_run(p, constants, in, out, octet, pixel, 1, 2);
      } else {
        bm_code_run(p, constants, in, out, octet, pixel, 1, 1);
      }
    } else if (has_second != 0) {
      bm_code_run(p, constants, in, out, octet, pixel, 4, 2);
    } else {
      bm_code_run(p, constants, in, out, octet, pixel, 4, 1);
    }
  }
  int zeros[kOctet];  // fill the last word
  for (int k = 0; k < kOctet; ++k) zeros[k] = 0;
  for (int k = 0; k < wide; ++k) {
    if (octet + k >= octets || (octet + k) * kOctet < p[kOutChannels]) continue;
    for (int r = 0; r < p[kRun] && pixel + r < p[kOutHeight] * p[kOutWidth]; ++r) {
      bm_store_octet(p, out, pixel + r, (octet + k) * kOctet, zeros);
    }
  }
}
