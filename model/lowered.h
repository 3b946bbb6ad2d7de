// Typed operations that the lowering passes produce and backends execute.
//
// A "code" is a small integer that stands for a real number: real = scale * (code - zero_point).
// One-bit tensors are bits (a set bit stands for -1): real = scale * (bit ? -1 : +1); everything
// from 2 to 8 bits is an unsigned byte. Logical shapes stay NCHW (or NC); the storage of bits and
// codes is channels innermost, as kernels/bconv/bconv.h and kernels/qconv/qconv.h define it.
// Float tensors are stored as their logical shape says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/tensor.h"

namespace bitmill {

// Constant weights, shared between copies of a graph. Element types int8 and float32.
using SharedTensorI8 = std::shared_ptr<const Tensor>;
using SharedTensorF32 = std::shared_ptr<const Tensor>;

// How a value is represented. kNone: plain elements of the value's dtype.
enum class CodeKind : uint8_t { kNone, kBits, kUInt8 };

struct CodeInfo {
  CodeKind kind = CodeKind::kNone;
  float scale = 1.0F;
  int32_t zero_point = 0;  // kUInt8 only; the code that stands for 0.0
  int32_t levels = 0;      // codes are 0 .. levels-1 (2 for bits, 3 for ternary, 256 for 8-bit)
};

// One step of a float chain, applied to each element; the operand is one value or one a channel.
enum class ChainOp : uint8_t {
  kAdd,         // x + operand
  kSub,         // x - operand
  kMul,         // x * operand
  kDiv,         // x / operand
  kReverseSub,  // operand - x
  kReverseDiv,  // operand / x
  kPow,         // pow(x, operand)
  kClip,        // clamp(x, operand, operand2)
  kRelu,
  kLeakyRelu,  // x < 0 ? operand * x : x  (PRelu with an operand a channel)
  kFloor,
  kCeil,
  kRound,  // to nearest, ties to even
  kSigmoid,
  kTanh,
  kHardTanh,  // clamp(x, -1, 1)
  kSqrt,
  kExp,
  kLog,
  kAbs,
  kNeg,
};

struct ChainStep {
  ChainOp op = ChainOp::kRelu;
  std::vector<float> operand;   // one value or one a channel (axis 1); empty where there is none
  std::vector<float> operand2;  // kClip: upper bound, one value or one a channel
};

using Chain = std::vector<ChainStep>;

// Internal unless each step has as many operands as its operation takes, each of one value or of
// one for each of `channels`.
absl::Status CheckChain(const Chain& chain, int64_t channels);

// Applies the chain to one element of channel `channel`, in float32, one rounding an operation, in
// the order written: the definition that thresholds are derived from.
float EvaluateChain(const Chain& chain, float x, int64_t channel);

// True when the chain is monotone in x for that channel; `direction` is +1, -1, or 0 for constant.
struct Monotonicity {
  bool monotone = false;
  int direction = 0;
};
Monotonicity ChainMonotonicity(const Chain& chain, int64_t channel);

// One step of a chain, as EvaluateChain applies it.
float EvaluateChainStep(const ChainStep& step, float x, int64_t channel);

enum class Rounding : uint8_t { kHalfEven, kFloor, kCeil, kTowardZero };

// real -> code: code = clamp(round(x / scale + offset), 0, levels - 1), where the clamp comes first
// when `clamp_first` (QONNX Quant) and NaN gives code 0. For bits: bit = !(x >= 0), so NaN is -1.
struct Quantizer {
  CodeInfo code;
  float offset = 0.0F;  // added after the division; includes the shift that makes codes unsigned
  Rounding rounding = Rounding::kHalfEven;
  bool clamp_first = true;
};

// The code (or bit) that the quantizer gives to x, in float32 as the formula is written.
int32_t EvaluateQuantizer(const Quantizer& quantizer, float x);

// float -> bits or codes: chain, then quantizer. Input rank 2 or 4, channels on axis 1. To bits,
// by thresholds alone, also int8, uint8, fp16 or bf16, each number taken as the float that it is.
//
// The passes leave `chain` empty and always set bit_thresholds (for bits) or level_thresholds (for
// codes), which are exact; `quantizer` then only tells where they came from. The thresholds of
// codes are nearly evenly spaced when the quantizer is uniform: an affine guess, corrected by
// comparing with the two neighbours, is as exact as a search and much faster.
struct QuantizeOp {
  Chain chain;
  Quantizer quantizer;
  // When set, the whole of chain and quantizer is one exact comparison a channel on the float
  // input: bit = !(x >= threshold), inverted where `invert`; NaN gives bit 1 (or 0 where inverted).
  // A threshold that is NaN is never reached, -infinity always.
  std::vector<float> bit_thresholds;  // one, or one a channel; empty when not applicable
  std::vector<uint8_t> bit_invert;    // same length
  // More than two levels: code = number of thresholds t with x >= t; NaN gives code 0. None is NaN;
  // a level that no finite x reaches has +infinity.
  std::vector<float> level_thresholds;  // [channels or 1][levels - 1], ascending
  int64_t level_channels = 0;           // 1 or the number of channels; 0 when not applicable
  // Whether `quantizer` alone gives the codes of the thresholds up to ties (false: MultiThreshold).
  bool uniform = false;
};

// bits or codes -> float: real = scale * (code - zero_point).
struct DequantizeOp {};

enum class Padding : uint8_t { kZero, kPlusOne, kMinusOne };  // real value in units of the scale

// Integer convolution (a dense layer is a 1x1 convolution over one pixel; a dense layer after a
// Flatten is a convolution whose kernel is the whole image):
//
//   acc[o] = sum over taps and channels of w[o] * q      w integer, q = code - zero_point or +-1
//
// followed by exactly one epilogue. Shapes: input [1,C,H,W] (or [1,C]), weights int8
// [O, C/groups, KH, KW], output [1,O,OH,OW] (or [1,O]). |acc| < 2^31 is checked when lowering.
struct LowBitConvOp {
  SharedTensorI8 weights;  // logical integers, not yet packed
  int weight_bits = 1;     // 1: {-1,+1}; 2: {-2..1}, ternary {-1,0,1} included; 4; 8
  bool ternary = false;    // weight_bits == 2 and no -2 occurs
  int64_t groups = 1;
  int64_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  Padding padding = Padding::kZero;

  enum class Epilogue : uint8_t {
    kFloat,       // float: acc * scale[o] + bias[o], then `chain` (may be empty)
    kThresholds,  // bits or codes: code = number of thresholds[o][i] <= acc; for channels in
                  // `flip`, acc is negated first. For bits: +1 (bit 0) when acc >= threshold.
    kRequantize,  // codes: real = chain(acc * scale[o] + bias[o]); then `quantizer`
  };
  Epilogue epilogue = Epilogue::kFloat;
  std::vector<float> scale, bias;   // [O]; kFloat and kRequantize
  Chain chain;                      // per-channel float steps that did not fold
  Quantizer quantizer;              // kRequantize
  std::vector<int32_t> thresholds;  // [O][levels - 1], ascending; INT32_MAX never, INT32_MIN always
  std::vector<uint8_t> flip;        // [O]; 1 where a negative scale turned the comparison around
};

// Max pooling on bits (maximum over +1/-1) or codes; the padding never wins.
struct LowBitMaxPoolOp {
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  // Channels whose real value falls as the code rises are pooled with the minimum; empty: none.
  std::vector<uint8_t> minimum;
};

// Pixels become channels and channels pixels, of bits or codes: [1, C, 1, W] -> [1, W, 1, C].
struct LowBitTransposeOp {};

// A float chain on a float tensor, channels on axis 1 (or one operand for all).
struct ElementwiseOp {
  Chain chain;
};

// Float operations that backends hand to a library; attributes are already normalized.
struct FloatConvOp {
  SharedTensorF32 weights;  // [O, C/groups, KH, KW]
  std::vector<float> bias;  // [O] or empty
  int64_t groups = 1;
  int64_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  Chain chain;  // fused behind it
};

struct FloatDenseOp {
  SharedTensorF32 weights;  // [O, K]
  std::vector<float> bias;  // [O] or empty
  Chain chain;
};

// std::monostate: still an ONNX node; a backend runs it with the reference implementation of
// model/ops, or refuses the graph.
using LoweredOp =
    std::variant<std::monostate, QuantizeOp, DequantizeOp, LowBitConvOp, LowBitMaxPoolOp,
                 LowBitTransposeOp, ElementwiseOp, FloatConvOp, FloatDenseOp>;

}  // namespace bitmill
