// Convolutions of bits with 1-bit weights whose bits are never counted: sums are kept in slices, the
// bits of one place of 64 sums in one word, and words are only added, bit by bit. So 64 products
// cost three operations (a difference and a full adder), where even one count in eight words costs
// more where the device has no instruction for it.
//
// A word has 64 outputs, a vector 8 pixels of a line. For that every bit of the input has to be a
// word, all ones or all zeros (bm_spread): done once for 64 channels and 24 columns of a line, which
// then serve the taps of a row, two vectors of pixels, kLines lines and kSliceBlocks blocks of
// outputs. Taps outside are zeros, that is +1, as in bm_conv_block.
//
// A sum that reaches its limit is a set bit; limits depend on which taps lie outside (kSliceCases).
// Their slices are inverted, so that one comparison a slice is the majority of three bits.
//
// For strides and dilations of 1 along a line, whole words of channels, and windows of up to
// kMaxSliceSum bits.

// Each bit of 24 words, as 64 times 24 words.
BITMILL_FUNCTION
void bm_spread(const ulong* columns, ulong* spread) {
  const ulong8 a = vload8((size_t)0, columns);
  const ulong8 b = vload8((size_t)1, columns);
  const ulong8 d = vload8((size_t)2, columns);
  for (int c = 0; c < kBlock; ++c) {
    const ulong up = (ulong)(kBlock - 1 - c);
    vstore8(as_ulong8(as_long8(a << up) >> 63), (size_t)(3 * c), spread);
    vstore8(as_ulong8(as_long8(b << up) >> 63), (size_t)(3 * c + 1), spread);
    vstore8(as_ulong8(as_long8(d << up) >> 63), (size_t)(3 * c + 2), spread);
  }
}

// slices[kSlices][8] += bit by bit, the 64 words that differ between w and what was spread, each
// pixel's own: `spread` begins at its column.
BITMILL_FUNCTION
void bm_add_slices(__global const ulong* w, const ulong* spread, ulong* slices) {
#define BITMILL_DIFFER(c) ((ulong8)(w[c]) ^ vload8((size_t)0, spread + (c) * kSpreadColumns))
  ulong8 ones = vload8((size_t)0, slices), twos = vload8((size_t)1, slices);
  ulong8 fours = vload8((size_t)2, slices), eights = vload8((size_t)3, slices);
  ulong8 of16 = vload8((size_t)4, slices), of32 = vload8((size_t)5, slices);
  ulong8 carry = 0;
  ulong8 pair = 0;  // of 32
  for (int upper = 0; upper < 2; ++upper) {
    ulong8 even = 0;  // of 16
    for (int quarter = 0; quarter < 2; ++quarter) {
      ulong8 t0, t1, f0, f1, e0, e1, s;
      BITMILL_ADD(ones, t0, BITMILL_DIFFER(0), BITMILL_DIFFER(1))
      BITMILL_ADD(ones, t1, BITMILL_DIFFER(2), BITMILL_DIFFER(3))
      BITMILL_ADD(twos, f0, t0, t1)
      BITMILL_ADD(ones, t0, BITMILL_DIFFER(4), BITMILL_DIFFER(5))
      BITMILL_ADD(ones, t1, BITMILL_DIFFER(6), BITMILL_DIFFER(7))
      BITMILL_ADD(twos, f1, t0, t1)
      BITMILL_ADD(fours, e0, f0, f1)
      BITMILL_ADD(ones, t0, BITMILL_DIFFER(8), BITMILL_DIFFER(9))
      BITMILL_ADD(ones, t1, BITMILL_DIFFER(10), BITMILL_DIFFER(11))
      BITMILL_ADD(twos, f0, t0, t1)
      BITMILL_ADD(ones, t0, BITMILL_DIFFER(12), BITMILL_DIFFER(13))
      BITMILL_ADD(ones, t1, BITMILL_DIFFER(14), BITMILL_DIFFER(15))
      BITMILL_ADD(twos, f1, t0, t1)
      BITMILL_ADD(fours, e1, f0, f1)
      BITMILL_ADD(eights, s, e0, e1)
      if (quarter == 0) {
        even = s;
      } else {
        BITMILL_ADD(of16, carry, even, s)
      }
      w += 16;
      spread += 16 * kSpreadColumns;
    }
    if (upper == 0) {
      pair = carry;
    } else {
      BITMILL_ADD(of32, carry, pair, carry)
    }
  }
#undef BITMILL_DIFFER
  vstore8(ones, (size_t)0, slices);
  vstore8(twos, (size_t)1, slices);
  vstore8(fours, (size_t)2, slices);
  vstore8(eights, (size_t)3, slices);
  vstore8(of16, (size_t)4, slices);
  vstore8(of32, (size_t)5, slices);
  for (int k = 6; k < kSlices; ++k) {
    const ulong8 slice = vload8((size_t)k, slices);
    vstore8(slice ^ carry, (size_t)k, slices);
    carry &= slice;
  }
}

// Which of the 8 pixels' sums reach their limits, and the flips.
BITMILL_FUNCTION
ulong8 bm_reached_slices(__global const ulong* limits, __global const int* cases, const int y,
                         const int x, __global const int* p, const ulong* slices) {
  const int rows = p[kOutHeight];
  const int columns = p[kOutWidth];
  const int last = x + kOctet - 1 < columns ? x + kOctet - 1 : columns - 1;
  ulong8 reached = ~(ulong)0;
  if (cases[rows + x] == cases[rows + last]) {
    __global const ulong* own = limits + (long)(cases[y] + cases[rows + x]) * kLimitSlices;
    for (int k = 0; k < kSlices; ++k) {
      const ulong8 slice = vload8((size_t)k, slices), limit = (ulong8)(own[k]);
      reached = (slice & limit) | (reached & (slice | limit));
    }
    return reached;
  }
  ulong limit[kSlices * kOctet];
  for (int lane = 0; lane < kOctet; ++lane) {
    const int at = x + lane < columns ? x + lane : columns - 1;
    __global const ulong* own = limits + (long)(cases[y] + cases[rows + at]) * kLimitSlices;
    for (int k = 0; k < kSlices; ++k) limit[k * kOctet + lane] = own[k];
  }
  for (int k = 0; k < kSlices; ++k) {
    const ulong8 slice = vload8((size_t)k, slices), own = vload8((size_t)k, limit);
    reached = (slice & own) | (reached & (slice | own));
  }
  return reached;
}

BITMILL_WIDE BITMILL_KERNEL(bm_conv_slices) {
  BITMILL_ITEM
  const int span = p[kSpan];
  const int taps_w = p[kKernelW];
  const int taps = p[kKernelH] * taps_w;
  const int width = p[kInWidth];
  const int groups = (p[kBlocks] + p[kSliceBlocks] - 1) / p[kSliceBlocks];
  const int first_block = item % groups * p[kSliceBlocks];
  const int blocks =
      p[kBlocks] - first_block < p[kSliceBlocks] ? p[kBlocks] - first_block : p[kSliceBlocks];
  const int strips = p[kRuns];
  const int x = item / groups % strips * p[kRun];
  const int y = item / groups / strips * p[kLines];
  const int lines = p[kOutHeight] - y < p[kLines] ? p[kOutHeight] - y : p[kLines];
  const int run = p[kOutWidth] - x < p[kRun] ? p[kOutWidth] - x : p[kRun];
  const int vectors = run <= kOctet ? 1 : p[kVectors];
  __global const ulong* in = BITMILL_INPUT(ulong);
  __global const ulong* weights = BITMILL_CONSTANT(ulong, p[kWeights]);
  ulong slices[kMaxSliceSums * kSlices * kOctet];
  for (int k = 0; k < kMaxSliceSums * kSlices; ++k) vstore8((ulong8)(0), (size_t)k, slices);
  ulong columns[kSpreadColumns];
  ulong spread[kBlock * kSpreadColumns];
  const int rows = (lines - 1) * p[kStrideH] + (p[kKernelH] - 1) * p[kDilationH] + 1;
  for (int row_in = 0; row_in < rows; ++row_in) {
    const int at_y = y * p[kStrideH] - p[kPadTop] + row_in;
    for (int n = 0; n < span; ++n) {
      for (int k = 0; k < kSpreadColumns; ++k) {
        const int at_x = x - p[kPadLeft] + k;
        const int inside = at_y >= 0 && at_y < p[kInHeight] && at_x >= 0 && at_x < width;
        columns[k] = inside != 0 ? in[(long)(at_y * width + at_x) * span + n] : 0;
      }
      bm_spread(columns, spread);
      for (int line = 0; line < lines; ++line) {
        const int from = row_in - line * p[kStrideH];
        const int i = from / p[kDilationH];
        if (from < 0 || from % p[kDilationH] != 0 || i >= p[kKernelH]) continue;
        for (int b = 0; b < blocks; ++b) {
          __global const ulong* w =
              weights + (((long)(first_block + b) * taps + i * taps_w) * span + n) * kBlock;
          for (int v = 0; v < vectors; ++v) {
            ulong* own = slices + ((line * blocks + b) * vectors + v) * kSlices * kOctet;
            for (int j = 0; j < taps_w; ++j) {
              bm_add_slices(w + (long)j * span * kBlock, spread + j + v * kOctet, own);
            }
          }
        }
      }
    }
  }
  __global const int* cases = BITMILL_CONSTANT(int, p[kSliceCases]);
  __global ulong* out = BITMILL_OUTPUT(ulong);
  const int out_words = p[kOutPixelBytes] / 8;
  for (int line = 0; line < lines; ++line) {
    for (int b = 0; b < blocks; ++b) {
      const int block = first_block + b;
      __global const ulong* limits =
          BITMILL_CONSTANT(ulong, p[kLimits]) + (long)block * p[kSliceLimits];
      const ulong flip = BITMILL_CONSTANT(ulong, p[kLimitFlip])[block];
      for (int v = 0; v < vectors; ++v) {
        const int begin = v * kOctet;
        ulong bits[kOctet];
        const ulong* own = slices + ((line * blocks + b) * vectors + v) * kSlices * kOctet;
        vstore8(bm_reached_slices(limits, cases, y + line, x + begin, p, own) ^ (ulong8)(flip),
                (size_t)0, bits);
        for (int lane = 0; lane < kOctet && begin + lane < run; ++lane) {
          out[(long)((y + line) * p[kOutWidth] + x + begin + lane) * out_words + block] = bits[lane];
        }
      }
    }
  }
}
