// What all kernels share: where values lie, chains, quantizers, epilogues. OpenCL C 1.2, of
// vectors only those of 8 and only what tests/backends/opencl/opencl_c.h knows, so that the same
// text also compiles as C++ for tests without a device.
//
// Every kernel takes the arena with all values of a batch, the constants of the model, the
// parameters of all steps (step_params.inc) and the number of its step. Dimensions 0 and 1 of the
// range are the items of a row, line by line, rounded up to whole lines; dimension 2 is the row. No
// argument depends on the batch. An item writes what no other item writes: no barriers, no atomics,
// no local memory.
//
// Float operations are as C writes them, one rounding each, so that codes and bits are those of the
// reference: no contraction, and division and square root rounded correctly, in double precision
// where the device has nothing better (the quotient of two floats, rounded to double and then to
// float, is the correctly rounded one).
#ifdef __OPENCL_VERSION__
#pragma OPENCL FP_CONTRACT OFF
#endif

#ifndef BITMILL_INT8
#define BITMILL_INT8 char
#endif

// kernels/cuda compiles the same text and defines these three in its own way.
#ifndef BITMILL_KERNEL
#define BITMILL_FUNCTION
#define BITMILL_UNROLL
#define BITMILL_KERNEL(name)                                                          \
  __kernel void name(__global uchar* arena, __global const uchar* constants,          \
                     __global const int* all_params, const int step)
#endif

// The parameters of this step, the item and the row; items past the last have nothing to do.
#define BITMILL_ITEM                                                                \
  __global const int* p = all_params + (long)step * kStepParams;                    \
  const int item = (int)(get_global_id(1) * get_global_size(0) + get_global_id(0)); \
  const long row = (long)get_global_id(2);                                          \
  if (item >= p[kItems]) return;

#define BITMILL_INPUT(type) ((__global const type*)(arena + ((long)p[kIn] + row * p[kInRow]) * kPlaceBytes))
#define BITMILL_OUTPUT(type) ((__global type*)(arena + ((long)p[kOut] + row * p[kOutRow]) * kPlaceBytes))
#define BITMILL_CONSTANT(type, place) ((__global const type*)(constants + (long)(place)*kPlaceBytes))

BITMILL_FUNCTION
float bm_divide(float a, float b) {
#ifdef BITMILL_EXACT_DIVIDE
  return a / b;
#else
  return (float)((double)a / (double)b);
#endif
}

BITMILL_FUNCTION
float bm_sqrt(float a) {
#ifdef BITMILL_EXACT_DIVIDE
  return sqrt(a);
#else
  return (float)sqrt((double)a);
#endif
}

BITMILL_FUNCTION
float bm_chain_step(const int op, const float x, const float a, const float b) {
  switch (op) {
    case kChainAdd:
      return x + a;
    case kChainSub:
      return x - a;
    case kChainMul:
      return x * a;
    case kChainDiv:
      return bm_divide(x, a);
    case kChainReverseSub:
      return a - x;
    case kChainReverseDiv:
      return bm_divide(a, x);
    case kChainPow:
      return pow(x, a);
    case kChainClip: {
      const float raised = x < a ? a : x;
      return raised > b ? b : raised;
    }
    case kChainRelu:
      return x < 0.0f ? 0.0f : x;
    case kChainLeakyRelu:
      return x < 0.0f ? a * x : x;
    case kChainFloor:
      return floor(x);
    case kChainCeil:
      return ceil(x);
    case kChainRound:
      return rint(x);
    case kChainSigmoid:
      return bm_divide(1.0f, 1.0f + exp(-x));
    case kChainTanh:
      return tanh(x);
    case kChainHardTanh:
      return x < -1.0f ? -1.0f : (x > 1.0f ? 1.0f : x);
    case kChainSqrt:
      return bm_sqrt(x);
    case kChainExp:
      return exp(x);
    case kChainLog:
      return log(x);
    case kChainAbs:
      return fabs(x);
    case kChainNeg:
      return -x;
  }
  return x;
}

BITMILL_FUNCTION
float bm_chain(__global const int* p, __global const uchar* constants, float x, const int channel) {
  __global const int* chain = BITMILL_CONSTANT(int, p[kChain]);
  for (int i = 0; i < p[kChainSteps]; ++i) {
    __global const int* s = chain + 4 * i;
    const float a = as_float(chain[s[1] + ((s[3] & 1) != 0 ? channel : 0)]);
    const float b = as_float(chain[s[2] + ((s[3] & 2) != 0 ? channel : 0)]);
    x = bm_chain_step(s[0], x, a, b);
  }
  return x;
}

BITMILL_FUNCTION
float bm_round(const int rounding, const float x) {
  switch (rounding) {
    case kRoundFloor:
      return floor(x);
    case kRoundCeil:
      return ceil(x);
    case kRoundTowardZero:
      return trunc(x);
    default:
      return rint(x);
  }
}

// The code, or bit, that the step's quantizer gives to x.
BITMILL_FUNCTION
int bm_quantize(__global const int* p, const float x) {
  if (p[kOutBits] != 0) return x >= 0.0f ? 0 : 1;
  const float top = (float)p[kTopCode];
  float code = bm_divide(x, as_float(p[kQuantScale])) + as_float(p[kQuantOffset]);
  if (code != code) return 0;
  if (p[kClampFirst] != 0) code = code < 0.0f ? 0.0f : (top < code ? top : code);
  code = bm_round(p[kRounding], code);
  return (int)(code < 0.0f ? 0.0f : (top < code ? top : code));
}

// How many of the ascending thresholds are <= x; none when x is NaN.
BITMILL_FUNCTION
int bm_reached_float(__global const float* thresholds, const int count, const float x) {
  int low = 0;
  int high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (x >= thresholds[middle]) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The same for accumulators; a threshold of 2^31 - 1 is never reached.
BITMILL_FUNCTION
int bm_reached_int(__global const int* thresholds, const int count, const int x) {
  int low = 0;
  int high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (x >= thresholds[middle] && thresholds[middle] != 0x7fffffff) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Stores 8 codes, or bits, of one pixel: those of channels first .. first + 7.
BITMILL_FUNCTION
void bm_store_octet(__global const int* p, __global uchar* out, const int pixel, const int first,
                    const int* codes) {
  __global uchar* to = out + (long)pixel * p[kOutPixelBytes];
  if (p[kOutBits] != 0) {
    uint byte = 0;
    BITMILL_UNROLL
    for (int k = 0; k < kOctet; ++k) byte |= (uint)(codes[k] & 1) << k;
    to[first / kOctet] = (uchar)byte;
  } else {
    BITMILL_UNROLL
    for (int k = 0; k < kOctet; ++k) to[first + k] = (uchar)codes[k];
  }
}

// What becomes of the accumulator of output o at one pixel: its code or bit, or, of a step to floats,
// 0 after storing it.
BITMILL_FUNCTION
int bm_finish_one(__global const int* p, __global const uchar* constants, __global uchar* out,
                  const int pixel, const int o, const int acc) {
  if (p[kEpilogue] == kToThresholds) {
    const int steps = p[kLevelSteps];
    const int value = BITMILL_CONSTANT(int, p[kFlip])[o] != 0 ? -acc : acc;
    const int reached =
        bm_reached_int(BITMILL_CONSTANT(int, p[kThresholds]) + (long)o * steps, steps, value);
    return p[kOutBits] != 0 ? 1 - reached : reached;
  }
  const float scaled = (float)acc * BITMILL_CONSTANT(float, p[kScale])[o];
  const float x = bm_chain(p, constants, scaled + BITMILL_CONSTANT(float, p[kBias])[o], o);
  if (p[kEpilogue] != kToFloat) return bm_quantize(p, x);
  ((__global float*)out)[(long)o * p[kOutHeight] * p[kOutWidth] + pixel] = x;
  return 0;
}

// Of the 8 accumulators of outputs first .. first + 7 at one pixel.
BITMILL_FUNCTION
void bm_finish(__global const int* p, __global const uchar* constants, __global uchar* out,
               const int pixel, const int first, const int* acc) {
  int codes[kOctet];
  BITMILL_UNROLL
  for (int k = 0; k < kOctet; ++k) {
    const int o = first + k;
    codes[k] = o < p[kOutChannels] ? bm_finish_one(p, constants, out, pixel, o, acc[k]) : 0;
  }
  if (p[kEpilogue] != kToFloat) bm_store_octet(p, out, pixel, first, codes);
}
