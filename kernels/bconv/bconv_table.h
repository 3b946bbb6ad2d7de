// The implementations of kernels/bconv/bconv.h, best first, the reference last.
#pragma once

#include <stdint.h>

#include "kernels/bconv/bconv.h"
#include "kernels/isa.h"
#include "kernels/sparse_form.h"

namespace bitmill {

struct BconvKernel {
  const char* name;  // "bconv_avx2"
  Isa isa;
  BconvFn run;
  // Null where `run` reads the weights as they are.
  int64_t (*prepared_bytes)(const BconvArgs& args) = nullptr;
  void (*prepare)(const BconvArgs& args, void* prepared) = nullptr;
  int64_t (*scratch_bytes)(const BconvArgs& args) = nullptr;  // null: none
  bool (*finishes)(const BconvArgs& args) = nullptr;          // null: never
  bool (*stores_planes)(const BconvArgs& args) = nullptr;     // null: never
  SparseForms sparse = {};  // none: `run` takes dense weights only
  // Another kernel of the table that is faster for some shapes, or beside some neighbours; null:
  // none worth measuring.
  const char* rival = nullptr;
};

// All implementations built into this binary, whether or not this machine can run them.
const BconvKernel* BconvKernels(int* count);
// The first that `allowed` permits.
const BconvKernel& SelectBconv(Isa allowed);

// Some kernels rearrange the weights in every call, which counts when a call has few pixels. They
// can do it once for all calls of a layer: allocate PreparedBconvBytes() bytes on a boundary of 64
// (0: nothing to gain), fill them by PrepareBconv() and set args.prepared. Both read the weights,
// out_channels, planes, taps and c_words of `args`, and its pixels (batch x out_h x out_w) as those
// of a typical call; later calls may have more or fewer.
int64_t PreparedBconvBytes(const BconvKernel& kernel, const BconvArgs& args);
void PrepareBconv(const BconvKernel& kernel, const BconvArgs& args, void* prepared);
// What args.scratch must hold for `args` and for calls that differ in having fewer images, lines or
// pixels a line; 0: nothing. Kernels that get none are slower, not wrong.
int64_t BconvScratchBytes(const BconvKernel& kernel, const BconvArgs& args);
// Whether `run` takes args.finish (kernels/bconv/bconv_finish.h) in such a call, all else set.
bool BconvFinishes(const BconvKernel& kernel, const BconvArgs& args);
// Whether `run` takes args.out_channel in such a call, all else set.
bool BconvStoresPlanes(const BconvKernel& kernel, const BconvArgs& args);

// Packs logical weights w[out][c][taps] (c outermost of the last two; values -1, +1, and 0 when
// planes is 2) of one group into the layout above; `packed` has PackedBconvWords() words.
// negate: [out_channels] or null; channels whose weights are stored negated.
int64_t PackedBconvWords(int32_t out_channels, int32_t channels, int32_t taps, int32_t planes);
void PackBconvWeights(const int8_t* weights, int32_t out_channels, int32_t channels, int32_t taps,
                      int32_t planes, const uint8_t* negate, uint64_t* packed);

}  // namespace bitmill
