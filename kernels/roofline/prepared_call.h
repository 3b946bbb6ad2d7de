// A call of a kernel with all that a compiled model would give it: prepared weights and scratch.
#pragma once

#include "base/aligned_buffer.h"
#include "kernels/bconv/bconv_table.h"
#include "kernels/qconv/qconv_table.h"

namespace bitmill {

struct BconvCall {
  BconvCall(const BconvKernel& chosen, const BconvArgs& plain)
      : kernel(chosen),
        prepared(PreparedBconvBytes(chosen, plain)),
        scratch(BconvScratchBytes(chosen, plain)),
        args(plain) {
    PrepareBconv(kernel, args, prepared.data());
    if (prepared.size() > 0) args.prepared = prepared.data();
    if (scratch.size() > 0) args.scratch = scratch.data();
  }
  void Run() const { kernel.run(args); }

  BconvKernel kernel;
  AlignedBuffer prepared, scratch;
  BconvArgs args;
};

struct QconvCall {
  QconvCall(const QconvKernel& chosen, const QconvArgs& plain)
      : kernel(chosen),
        prepared(PreparedQconvBytes(chosen, plain)),
        scratch(QconvScratchBytes(chosen, plain)),
        args(plain) {
    PrepareQconv(kernel, args, prepared.data());
    if (prepared.size() > 0) args.prepared = prepared.data();
    if (scratch.size() > 0) args.scratch = scratch.data();
  }
  void Run() const { kernel.run(args); }

  QconvKernel kernel;
  AlignedBuffer prepared, scratch;
  QconvArgs args;
};

}  // namespace bitmill
