// The operator definitions by family; op_registry.cc puts the lists together.
#pragma once

#include "absl/types/span.h"
#include "model/ops/op_registry.h"

namespace bitmill {

absl::Span<const OpDef> ArithmeticOps();   // Add, Max, Where, ...
absl::Span<const OpDef> UnaryOps();        // Relu, Sign, Clip, Cast, ...
absl::Span<const OpDef> ConvolutionOps();  // Conv, ConvInteger, QLinearConv
absl::Span<const OpDef> MatrixOps();       // Gemm, MatMul, MatMulInteger, QLinearMatMul
absl::Span<const OpDef> PoolOps();         // MaxPool, AveragePool, Global*
absl::Span<const OpDef> NormalizeOps();    // BatchNormalization, Softmax, LogSoftmax
absl::Span<const OpDef> ReduceOps();       // Reduce*, ArgMax, TopK
absl::Span<const OpDef> ShapeOps();        // Constant, Shape, Reshape, Transpose, ...
absl::Span<const OpDef> SelectOps();       // Expand, Concat, Gather, Slice
absl::Span<const OpDef> ResizeOps();       // Pad, Resize, Upsample, DepthToSpace, SpaceToDepth
absl::Span<const OpDef> QuantOps();        // Quant, BipolarQuant, Trunc, MultiThreshold, Q/DQ

}  // namespace bitmill
