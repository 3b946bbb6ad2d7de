// Between floats, bits and codes, and what happens to bits and codes between convolutions.

BITMILL_FUNCTION
float bm_element(__global const uchar* in, const int type, const long i) {
  switch (type) {
    case kTypeInt8:
      return (float)((__global const BITMILL_INT8*)in)[i];
    case kTypeUInt8:
      return (float)in[i];
    case kTypeHalf:
      return vload_half((size_t)i, (__global const half*)in);
    case kTypeBFloat16:
      return as_float((uint)((__global const ushort*)in)[i] << 16);
    default:
      return ((__global const float*)in)[i];
  }
}

// Plain elements [channels][pixels] -> bits or codes; an item makes 8 channels of one pixel.
BITMILL_KERNEL(bm_quantize_plain) {
  BITMILL_ITEM
  const int octets = p[kOutOctets];
  const int first = item % octets * kOctet;
  const int pixel = item / octets;
  const int pixels = p[kOutHeight] * p[kOutWidth];
  const int steps = p[kLevelSteps];
  __global const uchar* in = BITMILL_INPUT(uchar);
  __global const float* thresholds = BITMILL_CONSTANT(float, p[kThresholds]);
  __global const int* flip = BITMILL_CONSTANT(int, p[kFlip]);
  int codes[kOctet];
  for (int k = 0; k < kOctet; ++k) {
    const int c = first + k;
    codes[k] = 0;
    if (c >= p[kOutChannels]) continue;
    const float value = bm_element(in, p[kInType], (long)c * pixels + pixel);
    const float x = bm_chain(p, constants, value, c);
    const int which = p[kThresholdChannels] == 1 ? 0 : c;
    if (p[kEpilogue] == kToQuantizer) {
      codes[k] = bm_quantize(p, x);
    } else if (p[kOutBits] != 0) {
      codes[k] = (x >= thresholds[which] ? 0 : 1) ^ flip[which];
    } else {
      codes[k] = bm_reached_float(thresholds + (long)which * steps, steps, x);
    }
  }
  bm_store_octet(p, BITMILL_OUTPUT(uchar), pixel, first, codes);
}

// The code, or bit, of a channel of a pixel.
BITMILL_FUNCTION
int bm_code_at(__global const int* p, __global const uchar* in, const int pixel, const int c) {
  __global const uchar* from = in + (long)pixel * p[kInPixelBytes];
  return p[kInBits] != 0 ? (from[c / 8] >> (c % 8)) & 1 : from[c];
}

// Bits or codes -> float; an item makes one element.
BITMILL_KERNEL(bm_dequantize) {
  BITMILL_ITEM
  const int pixels = p[kInHeight] * p[kInWidth];
  const int code = bm_code_at(p, BITMILL_INPUT(uchar), item % pixels, item / pixels);
  const float real =
      p[kInBits] != 0 ? (code != 0 ? -1.0f : 1.0f) : (float)(code - p[kZeroPoint]);
  BITMILL_OUTPUT(float)[item] = as_float(p[kQuantScale]) * real;
}

// Bits -> codes 0 and 2 with the zero point 1, for weights of more than two bits.
BITMILL_KERNEL(bm_unpack) {
  BITMILL_ITEM
  const int octets = p[kOutOctets];
  const int first = item % octets * kOctet;
  const int pixel = item / octets;
  int codes[kOctet];
  for (int k = 0; k < kOctet; ++k) {
    const int c = first + k;
    codes[k] = c < p[kOutChannels] ? 2 - 2 * bm_code_at(p, BITMILL_INPUT(uchar), pixel, c) : 0;
  }
  bm_store_octet(p, BITMILL_OUTPUT(uchar), pixel, first, codes);
}

// Pixels become channels and channels pixels.
BITMILL_KERNEL(bm_transpose) {
  BITMILL_ITEM
  const int octets = p[kOutOctets];
  const int first = item % octets * kOctet;
  const int pixel = item / octets;
  int codes[kOctet];
  for (int k = 0; k < kOctet; ++k) {
    const int c = first + k;
    codes[k] = c < p[kOutChannels] ? bm_code_at(p, BITMILL_INPUT(uchar), c, pixel) : 0;
  }
  bm_store_octet(p, BITMILL_OUTPUT(uchar), pixel, first, codes);
}

// Maximum over windows of bits: a set bit is the smaller value, so the maximum is AND, and OR where
// a channel takes the minimum. An item makes one word of one pixel; the border never wins.
BITMILL_KERNEL(bm_pool_bits) {
  BITMILL_ITEM
  const int words = p[kOutPixelBytes] / 8;
  const int word = item % words;
  const int pixel = item / words;
  __global const ulong* in = BITMILL_INPUT(ulong) + word;
  const int top = pixel / p[kOutWidth] * p[kStrideH] - p[kPadTop];
  const int left = pixel % p[kOutWidth] * p[kStrideW] - p[kPadLeft];
  ulong all = ~(ulong)0;
  ulong any = 0;
  int inside = 0;
  for (int i = 0; i < p[kKernelH]; ++i) {
    const int y = top + i * p[kDilationH];
    for (int j = 0; j < p[kKernelW]; ++j) {
      const int x = left + j * p[kDilationW];
      if (y < 0 || y >= p[kInHeight] || x < 0 || x >= p[kInWidth]) continue;
      const ulong bits = in[(long)(y * p[kInWidth] + x) * words];
      all &= bits;
      any |= bits;
      inside = 1;
    }
  }
  const ulong minimum = p[kMinimum] < 0 ? 0 : BITMILL_CONSTANT(ulong, p[kMinimum])[word];
  BITMILL_OUTPUT(ulong)[item] = inside == 0 ? 0 : (all & ~minimum) | (any & minimum);
}

// The same for codes; an item makes one byte of one pixel.
BITMILL_KERNEL(bm_pool_codes) {
  BITMILL_ITEM
  const int bytes = p[kOutPixelBytes];
  const int c = item % bytes;
  const int pixel = item / bytes;
  __global const uchar* in = BITMILL_INPUT(uchar) + c;
  const int minimum = p[kMinimum] < 0 ? 0 : BITMILL_CONSTANT(uchar, p[kMinimum])[c];
  const int top = pixel / p[kOutWidth] * p[kStrideH] - p[kPadTop];
  const int left = pixel % p[kOutWidth] * p[kStrideW] - p[kPadLeft];
  int best = -1;
  for (int i = 0; i < p[kKernelH]; ++i) {
    const int y = top + i * p[kDilationH];
    for (int j = 0; j < p[kKernelW]; ++j) {
      const int x = left + j * p[kDilationW];
      if (y < 0 || y >= p[kInHeight] || x < 0 || x >= p[kInWidth]) continue;
      const int code = in[(long)(y * p[kInWidth] + x) * bytes];
      if (best < 0 || (minimum != 0 ? code < best : code > best)) best = code;
    }
  }
  BITMILL_OUTPUT(uchar)[item] = (uchar)(best < 0 ? 0 : best);
}
