// A float chain (model/lowered.h) made ready to run over whole tensors, element for element what
// EvaluateChain() gives: float32, one rounding an operation, in the order written.
//
// Operands are expanded to one a channel or kept as one for all. Data is worked on in blocks that
// stay in the first-level cache, one pass an operation, so that the compiler vectorizes each pass.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/fmap/fmap_table.h"
#include "model/lowered.h"

namespace bitmill {

class CompiledChain {
 public:
  CompiledChain() = default;
  // Internal when an operand has neither one value nor `channels`.
  static absl::StatusOr<CompiledChain> Make(const Chain& chain, int64_t channels,
                                            const FmapKernel& kernel);

  bool empty() const { return steps_.empty(); }
  int64_t table_bytes() const;

  // The operations with their operands, one a channel and some zeros up to a multiple of 16; empty
  // where not used. Nothing if one of them is of the C library.
  struct ChannelOp {
    FmapOp op = FmapOp::kAdd;
    std::vector<float> a, b;
  };
  std::optional<std::vector<ChannelOp>> ByChannel() const;

  // [channels][inner], channels outermost; dst may be src.
  void RunPlanar(const float* src, float* dst, int64_t inner) const;
  // [pixels][stride], channels innermost, in place.
  void RunInterleaved(float* data, int64_t pixels, int64_t stride) const;

 private:
  struct CompiledStep {
    ChainOp op = ChainOp::kRelu;
    std::vector<float> a, b;  // one value, or one a channel over a tile; empty when not used
  };
  // All of `args` but the operation is set.
  void Apply(const CompiledStep& step, FmapArgs args) const;
  // One channel, `count` elements.
  void RunChannel(const float* src, float* dst, int64_t count, int64_t channel) const;
  // `count` elements, at most a tile, from a pixel's first channel on.
  void RunPixels(const float* src, float* dst, int64_t count) const;

  int64_t channels_ = 1;
  int64_t tile_ = 1;  // elements: whole pixels
  bool per_channel_ = false;
  const FmapKernel* kernel_ = nullptr;
  std::vector<CompiledStep> steps_;
};

}  // namespace bitmill
