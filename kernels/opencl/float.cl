// Float layers: stems and heads, shortcuts, pools. An item makes one element.
//
// Sums are in double precision, in the order of the reference, where BITMILL_SUM is double: then
// they are the reference's, bit for bit.

// [channels / groups] inputs of each window x float weights[outputs][channels / groups][taps].
BITMILL_KERNEL(bm_conv_float) {
  BITMILL_ITEM
  const int out_pixels = p[kOutHeight] * p[kOutWidth];
  const int o = item / out_pixels;
  const int pixel = item % out_pixels;
  const int in_pixels = p[kInHeight] * p[kInWidth];
  const int channels = p[kInChannels] / p[kGroups];
  const int group = o / (p[kOutChannels] / p[kGroups]);
  const int taps = p[kKernelH] * p[kKernelW];
  __global const float* in = BITMILL_INPUT(float) + (long)group * channels * in_pixels;
  __global const float* w = BITMILL_CONSTANT(float, p[kWeights]) + (long)o * channels * taps;
  const int top = pixel / p[kOutWidth] * p[kStrideH] - p[kPadTop];
  const int left = pixel % p[kOutWidth] * p[kStrideW] - p[kPadLeft];
  BITMILL_SUM sum = BITMILL_CONSTANT(float, p[kBias])[o];
  for (int c = 0; c < channels; ++c) {
    for (int i = 0; i < p[kKernelH]; ++i) {
      const int y = top + i * p[kDilationH];
      for (int j = 0; j < p[kKernelW]; ++j, ++w) {
        const int x = left + j * p[kDilationW];
        if (y < 0 || y >= p[kInHeight] || x < 0 || x >= p[kInWidth]) continue;
        sum += (BITMILL_SUM)w[0] * in[y * p[kInWidth] + x];
      }
    }
    in += in_pixels;
  }
  BITMILL_OUTPUT(float)[item] = bm_chain(p, constants, (float)sum, o);
}

// A chain, element by element; its channels are kOutChannels images of kOutHeight x kOutWidth.
BITMILL_KERNEL(bm_elementwise) {
  BITMILL_ITEM
  const int channel = item / (p[kOutHeight] * p[kOutWidth]);
  BITMILL_OUTPUT(float)[item] = bm_chain(p, constants, BITMILL_INPUT(float)[item], channel);
}

// Two operands that broadcast, or one that is copied to other places: transposed, joined.
BITMILL_KERNEL(bm_strided) {
  BITMILL_ITEM
  int rest = item;
  int a = 0;
  int b = 0;
  int to = p[kOffsetOut];
  for (int d = p[kRank] - 1; d >= 0; --d) {
    const int at = rest % p[kDims + d];
    rest /= p[kDims + d];
    a += at * p[kStridesA + d];
    b += at * p[kStridesB + d];
    to += at * p[kStridesOut + d];
  }
  if (p[kOp] == kStridedCopy) {
    BITMILL_OUTPUT(uint)[to] = BITMILL_INPUT(uint)[a];
    return;
  }
  __global const float* second =
      p[kIn2Constant] != 0
          ? BITMILL_CONSTANT(float, p[kIn2])
          : (__global const float*)(arena + ((long)p[kIn2] + row * p[kIn2Row]) * kPlaceBytes);
  const float x = BITMILL_INPUT(float)[a];
  const float y = second[b];
  float result = 0.0f;
  switch (p[kOp]) {
    case kStridedAdd:
      result = x + y;
      break;
    case kStridedSub:
      result = x - y;
      break;
    case kStridedMul:
      result = x * y;
      break;
    case kStridedDiv:
      result = bm_divide(x, y);
      break;
    case kStridedReverseSub:
      result = y - x;
      break;
    default:
      result = bm_divide(y, x);
  }
  BITMILL_OUTPUT(float)[to] = result;
}

// Taps of a window that lie inside the padded image.
BITMILL_FUNCTION
int bm_taps(const int from, const int taps, const int dilation, const int end) {
  int count = 0;
  for (int i = 0; i < taps; ++i) count += from + i * dilation < end ? 1 : 0;
  return count;
}

// Maximum or average over windows of a float map.
BITMILL_KERNEL(bm_pool_float) {
  BITMILL_ITEM
  const int out_pixels = p[kOutHeight] * p[kOutWidth];
  const int pixel = item % out_pixels;
  __global const float* in =
      BITMILL_INPUT(float) + (long)(item / out_pixels) * p[kInHeight] * p[kInWidth];
  const int top = pixel / p[kOutWidth] * p[kStrideH] - p[kPadTop];
  const int left = pixel % p[kOutWidth] * p[kStrideW] - p[kPadLeft];
  float best = -INFINITY;
  float sum = 0.0f;
  int count = 0;
  for (int i = 0; i < p[kKernelH]; ++i) {
    const int y = top + i * p[kDilationH];
    for (int j = 0; j < p[kKernelW]; ++j) {
      const int x = left + j * p[kDilationW];
      if (y < 0 || y >= p[kInHeight] || x < 0 || x >= p[kInWidth]) continue;
      const float value = in[y * p[kInWidth] + x];
      best = value > best ? value : best;
      sum += value;
      ++count;
    }
  }
  if (p[kMaximum] == 0) {
    if (p[kWithPadding] != 0) {
      count = bm_taps(top, p[kKernelH], p[kDilationH], p[kInHeight] + p[kPadBottom]) *
              bm_taps(left, p[kKernelW], p[kDilationW], p[kInWidth] + p[kPadRight]);
    }
    best = count > 0 ? bm_divide(sum, (float)count) : 0.0f;
  }
  BITMILL_OUTPUT(float)[item] = best;
}
