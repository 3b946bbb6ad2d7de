// What becomes of the float outputs of a binary convolution before they leave its registers: a
// chain of operations, among them the sum with a shortcut, and the signs of the result for the next
// layer. Every value is computed as kernels/fmap/fmap.h and kernels/pack/pack.h would do it step by
// step, bit for bit.
#pragma once

#include <stdint.h>

#include "kernels/fmap/fmap.h"

namespace bitmill {

struct BconvFinishOp {
  // kAdd, kSub, kMul, kDiv, kClip, kRelu, kLeakyRelu or kHardTanh (BconvFinishTakes).
  FmapOp op;
  // Operands, one for each output channel, rounded up to 16 of them; null where not used.
  const float* a;
  const float* b;
  // Instead of `a`, a map with the strides of out_float; it may be out_float. kAdd only.
  const float* map;
};

struct BconvFinish {
  const BconvFinishOp* ops;
  int32_t count;
  // Bit o of a pixel is !(value >= thresholds[o]) xor inverted; as many bytes as for out_bits.
  // Null: none.
  uint8_t* signs;
  int64_t sign_image, sign_row, sign_pixel;  // strides in bytes
  const float* thresholds;                   // [out_channels rounded up to 16]
  const uint16_t* inverted;                  // bits of 16 channels each; none past the last channel
};

constexpr bool BconvFinishTakes(FmapOp op) {
  return op == FmapOp::kAdd || op == FmapOp::kSub || op == FmapOp::kMul || op == FmapOp::kDiv ||
         op == FmapOp::kClip || op == FmapOp::kRelu || op == FmapOp::kLeakyRelu ||
         op == FmapOp::kHardTanh;
}

}  // namespace bitmill
