// The implementations of kernels/qconv/qconv.h, best first, the reference last.
#pragma once

#include <stdint.h>

#include "kernels/isa.h"
#include "kernels/qconv/qconv.h"
#include "kernels/sparse_form.h"

namespace bitmill {

struct QconvKernel {
  const char* name;
  Isa isa;
  QconvFn run;
  SparseForms sparse = {};  // none: `run` takes dense weights only
  // Null where `run` reads the weights as they are.
  int64_t (*prepared_bytes)(const QconvArgs& args) = nullptr;
  void (*prepare)(const QconvArgs& args, void* prepared) = nullptr;
  int64_t (*scratch_bytes)(const QconvArgs& args) = nullptr;  // null: none
  int32_t step_unit = 1;                                      // steps that are multiplied at a time
  bool two_of_four = false;  // prepares 2:4 weights as such (kernels/qconv/qconv_2of4.h)
  // Another kernel of the table that is faster for some shapes, or beside some neighbours; null:
  // none worth measuring.
  const char* rival = nullptr;
};

const QconvKernel* QconvKernels(int* count);
const QconvKernel& SelectQconv(Isa allowed);

// Some kernels rearrange the weights in every call; what of that they can do once for all calls of
// a layer: allocate PreparedQconvBytes() bytes on a boundary of 64 (0: nothing to gain, or sparse),
// fill them by PrepareQconv() and set args.prepared. Both read the weights, kind, levels, ternary,
// out_channels and steps of `args`, and its pixels (batch x out_h x out_w) as those of a typical
// call; later calls may have more or fewer.
int64_t PreparedQconvBytes(const QconvKernel& kernel, const QconvArgs& args);
void PrepareQconv(const QconvKernel& kernel, const QconvArgs& args, void* prepared);
// What args.scratch must hold for `args` and for calls that differ in having fewer images, lines or
// pixels a line; 0: nothing. Kernels that get none are slower, not wrong.
int64_t QconvScratchBytes(const QconvKernel& kernel, const QconvArgs& args);

// Packs logical weights w[out][c][taps] of one group. channels are padded to a multiple of 4, so
// steps = taps * ceil(channels / 4), taps outermost.
int64_t PackedQconvBytes(QconvWeights kind, int32_t out_channels, int32_t channels, int32_t taps);
void PackQconvWeights(const int8_t* weights, QconvWeights kind, int32_t out_channels,
                      int32_t channels, int32_t taps, uint8_t* packed);

}  // namespace bitmill
