// Convolutions of bits with 1-bit weights, in vectors: an item computes 64 outputs of kRun pixels of
// a line. The columns of their windows are copied into private memory once, so that the window of
// each pixel is one run of words, without a border: taps outside are zeros, which stand for +1, and
// kEdgeSums says what that makes wrong. Then 8 turns of 8 outputs, in the lanes of a vector.

// How many bits of patch[0 .. words) and of each lane of w differ.
BITMILL_FUNCTION
ulong8 bm_differ(__global const ulong* w, const ulong* patch, const int words) {
#define BITMILL_DIFFER(i) (vload8((size_t)(i), w) ^ (ulong8)(patch[i]))
  ulong8 ones = 0, twos = 0, fours = 0, pairs = 0, eights = 0;
  int m = 0;
  if (words >= 9) {  // a window of 3 x 3 words costs 5 additions and 4 counts
    ulong8 s0 = BITMILL_DIFFER(0), s1 = BITMILL_DIFFER(3), s2 = BITMILL_DIFFER(6);
    ulong8 c0, c1, c2, more;
    BITMILL_ADD(s0, c0, BITMILL_DIFFER(1), BITMILL_DIFFER(2))
    BITMILL_ADD(s1, c1, BITMILL_DIFFER(4), BITMILL_DIFFER(5))
    BITMILL_ADD(s2, c2, BITMILL_DIFFER(7), BITMILL_DIFFER(8))
    ones = s0;
    BITMILL_ADD(ones, more, s1, s2)
    twos = c0;
    BITMILL_ADD(twos, fours, c1, c2)
    pairs = bm_count8(more);
    m = 9;
  }
  for (; m + 8 <= words; m += 8) {
    ulong8 a, b, c, d, e;
    BITMILL_ADD(ones, a, BITMILL_DIFFER(m), BITMILL_DIFFER(m + 1))
    BITMILL_ADD(ones, b, BITMILL_DIFFER(m + 2), BITMILL_DIFFER(m + 3))
    BITMILL_ADD(twos, c, a, b)
    BITMILL_ADD(ones, a, BITMILL_DIFFER(m + 4), BITMILL_DIFFER(m + 5))
    BITMILL_ADD(ones, b, BITMILL_DIFFER(m + 6), BITMILL_DIFFER(m + 7))
    BITMILL_ADD(twos, d, a, b)
    BITMILL_ADD(fours, e, c, d)
    eights += bm_count8(e);
  }
  for (; m + 2 <= words; m += 2) {
    ulong8 a;
    BITMILL_ADD(ones, a, BITMILL_DIFFER(m), BITMILL_DIFFER(m + 1))
    pairs += bm_count8(a);
  }
  // Sums are doubled, never counts: a doubled count is no longer the text that LLVM knows.
  if (words >= 8) {
    eights = eights + eights + bm_count8(fours);
    pairs += bm_count8(twos) + eights + eights;
  }
  pairs += pairs;
  if (m < words) pairs += bm_count8(BITMILL_DIFFER(m));
  return pairs + bm_count8(ones);
#undef BITMILL_DIFFER
}

// Copies the columns of the windows of `run` pixels from (y, x) on; they overlap where the dilation
// is 1, otherwise the run is one pixel.
BITMILL_FUNCTION
void bm_gather(__global const int* p, __global const ulong* in, const int y, const int x,
               const int run, ulong* patch) {
  const int span = p[kSpan];
  const int height = p[kInHeight];
  const int width = p[kInWidth];
  const int top = y * p[kStrideH] - p[kPadTop];
  const int left = x * p[kStrideW] - p[kPadLeft];
  const int rows = p[kKernelH];
  const int columns = (run - 1) * p[kStrideW] + p[kKernelW];
  for (int j = 0; j < columns; ++j) {
    const int at_x = left + j * p[kDilationW];
    for (int i = 0; i < rows; ++i) {
      const int at_y = top + i * p[kDilationH];
      if (at_x < 0 || at_x >= width || at_y < 0 || at_y >= height) {
        for (int n = 0; n < span; ++n) patch[n] = 0;
      } else {
        __global const ulong* from = in + (long)(at_y * width + at_x) * span;
        for (int n = 0; n < span; ++n) patch[n] = from[n];
      }
      patch += span;
    }
  }
}

// Whether a tap of the window of pixel (y, x) lies outside.
BITMILL_FUNCTION
int bm_is_edge(__global const int* p, const int y, const int x) {
  const int top = y * p[kStrideH] - p[kPadTop];
  const int left = x * p[kStrideW] - p[kPadLeft];
  return top < 0 || left < 0 || top + (p[kKernelH] - 1) * p[kDilationH] >= p[kInHeight] ||
         left + (p[kKernelW] - 1) * p[kDilationW] >= p[kInWidth];
}

// What the taps outside add to the outputs of a turn.
BITMILL_FUNCTION
long8 bm_edge_sum(__global const int* p, __global const int* sums, const int y, const int x,
                  const int turn) {
  const int top = y * p[kStrideH] - p[kPadTop];
  const int left = x * p[kStrideW] - p[kPadLeft];
  long8 sum = 0;
  for (int j = 0; j < p[kKernelW]; ++j) {
    const int at_x = left + j * p[kDilationW];
    for (int i = 0; i < p[kKernelH]; ++i) {
      const int at_y = top + i * p[kDilationH];
      if (at_x < 0 || at_x >= p[kInWidth] || at_y < 0 || at_y >= p[kInHeight]) {
        sum += convert_long8(vload8((size_t)((j * p[kKernelH] + i) * kOctet + turn), sums));
      }
    }
  }
  return sum;
}

BITMILL_WIDE BITMILL_KERNEL(bm_conv_block) {
  BITMILL_ITEM
  const int blocks = p[kBlocks];
  const int block = item % blocks;
  const int runs = p[kRuns];
  const int y = item / blocks / runs;
  const int x = item / blocks % runs * p[kRun];
  const int run = p[kOutWidth] - x < p[kRun] ? p[kOutWidth] - x : p[kRun];
  ulong patch[kPatchWords];
  bm_gather(p, BITMILL_INPUT(ulong), y, x, run, patch);
  const int taps = p[kKernelH] * p[kKernelW];
  const int words = p[kSpan] * taps;
  const int step_words = p[kStrideW] * p[kKernelH] * p[kSpan];
  __global const ulong* w = BITMILL_CONSTANT(ulong, p[kWeights]) + (long)block * kBlock * words;
  __global const int* edges = BITMILL_CONSTANT(int, p[kEdgeSums]) + (long)block * kBlock * taps;
  __global const long* limits = BITMILL_CONSTANT(long, p[kLimits]) + (long)block * kBlock;
  __global uchar* out = BITMILL_OUTPUT(uchar);
  for (int q = 0; q < run; ++q) {
    const int pixel = y * p[kOutWidth] + x + q;
    const int edge = p[kEdgeSums] != 0 ? bm_is_edge(p, y, x + q) : 0;
    if (p[kLimits] != 0) {
      ulong8 bits = 0;
      for (int turn = 0; turn < kOctet; ++turn) {
        const long8 differ =
            as_long8(bm_differ(w + (long)turn * words * kOctet, patch + q * step_words, words));
        long8 limit = vload8((size_t)turn, limits);
        if (edge != 0) limit += bm_edge_sum(p, edges, y, x + q, turn);
        bits |= as_ulong8(differ + differ > limit) & ((ulong)1 << turn);
      }
      const uchar8 flip = vload8((size_t)block, BITMILL_CONSTANT(uchar, p[kLimitFlip]));
      vstore8(convert_uchar8(bits) ^ flip, (size_t)block, out + (long)pixel * p[kOutPixelBytes]);
      continue;
    }
    int acc[kBlock];  // [turn][lane]
    for (int turn = 0; turn < kOctet; ++turn) {
      const long8 differ =
          as_long8(bm_differ(w + (long)turn * words * kOctet, patch + q * step_words, words));
      long8 sum = (long8)(p[kTotal]) - differ - differ;
      if (edge != 0) sum += bm_edge_sum(p, edges, y, x + q, turn);
      vstore8(convert_int8(sum), (size_t)turn, acc);
    }
    for (int lane = 0; lane < kOctet; ++lane) {
      if (block * kOctet + lane >= p[kOutOctets]) break;
      int own[kOctet];
      for (int turn = 0; turn < kOctet; ++turn) own[turn] = acc[turn * kOctet + lane];
      bm_finish(p, constants, out, pixel, block * kBlock + lane * kOctet, own);
    }
  }
}
