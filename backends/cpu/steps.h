// Factories of all steps, one file a step. Each returns a step that computes `output` from `input`
// with the kernels of `builder`, packs what it needs of the operation's constants and keeps no
// reference to them. Errors: Unimplemented or ResourceExhausted with the reason, which the caller
// prefixes with the node; Internal when lowering broke its own rules.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/cpu/step.h"
#include "backends/cpu/step_builder.h"
#include "model/graph.h"
#include "model/lowered.h"
#include "model/ops/window.h"

namespace bitmill {

using StepPtr = std::unique_ptr<Step>;

// float -> bits or codes. The input may lie in the request.
absl::StatusOr<StepPtr> MakeQuantizeStep(const QuantizeOp& op, const Operand& input,
                                         const Operand& output, StepBuilder& builder);

// bits or codes -> float (either float storage).
absl::StatusOr<StepPtr> MakeDequantizeStep(const CodeInfo& code, const Operand& input,
                                           const Operand& output);

// bits x 1-bit or ternary weights. `output_code` says what the output value is.
absl::StatusOr<StepPtr> MakeBconvStep(const LowBitConvOp& op, const CodeInfo& output_code,
                                      const Operand& input, const Operand& output,
                                      StepBuilder& builder);

// codes (or bits, which are unpacked first) x 1, 2, 4 or 8-bit weights.
absl::StatusOr<StepPtr> MakeQconvStep(const LowBitConvOp& op, const CodeInfo& input_code,
                                      const CodeInfo& output_code, const Operand& input,
                                      const Operand& output, StepBuilder& builder);

// Maximum over windows of bits or codes.
absl::StatusOr<StepPtr> MakePoolStep(const LowBitMaxPoolOp& op, const Operand& input,
                                     const Operand& output, StepBuilder& builder);

// A chain on floats; the input may lie in the request.
absl::StatusOr<StepPtr> MakeElementwiseStep(const ElementwiseOp& op, const Operand& input,
                                            const Operand& output, StepBuilder& builder);

// Two float tensors of one shape; all three in the arena and stored alike.
enum class BinaryOp : uint8_t { kAdd, kSub, kMul, kDiv };
absl::StatusOr<StepPtr> MakeBinaryStep(BinaryOp op, const Operand& a, const Operand& b,
                                       const Operand& output, StepBuilder& builder);

// Maximum or average over windows of a float map (either storage; they may differ).
struct FloatPool {
  bool maximum = false;
  bool with_padding = false;  // averages: the padding counts
  SlidingWindow window;
};
absl::StatusOr<StepPtr> MakeFloatPoolStep(const FloatPool& pool, const Operand& input,
                                          const Operand& output, StepBuilder& builder);

// Float maps of one size joined along their channels; all kPixelFloat.
absl::StatusOr<StepPtr> MakeFloatConcatStep(std::vector<Operand> inputs, const Operand& output);

// Float layers through oneDNN. The input may lie in the request.
absl::StatusOr<StepPtr> MakeFloatConvStep(const FloatConvOp& op, const Operand& input,
                                          const Operand& output, StepBuilder& builder);
absl::StatusOr<StepPtr> MakeFloatDenseStep(const FloatDenseOp& op, const Operand& input,
                                           const Operand& output, StepBuilder& builder);

// Any operator, through the reference implementation of model/ops. Where an input is a constant,
// its operand is ignored; an absent optional input has an operand without buffer.
struct ReferenceInput {
  Operand operand;
  SharedTensor constant;
  DType dtype = DType::kInvalid;  // kInvalid: absent
  Shape shape;
};
struct ReferenceOutput {
  Operand operand;  // kPlain
  DType dtype = DType::kInvalid;
  Shape shape;
};
absl::StatusOr<StepPtr> MakeReferenceStep(const Node& node, int64_t opset,
                                          std::vector<ReferenceInput> inputs,
                                          std::vector<ReferenceOutput> outputs);

// Copies between a buffer and a request, or between buffers that differ in their border only.
StepPtr MakeLoadStep(const Operand& input, const Operand& output);
StepPtr MakeStoreStep(const Operand& input, SharedTensor constant, int32_t output_port,
                      int64_t row_bytes);
StepPtr MakeBorderStep(const Operand& input, const Operand& output);

// The same for ports of bits or codes (backends/coded_port.h), whose pixels have `pixel_bytes`.
StepPtr MakeCodedLoadStep(int32_t input_port, int64_t pixel_bytes, const Operand& output);
StepPtr MakeCodedStoreStep(const Operand& input, int32_t output_port, int64_t pixel_bytes);

}  // namespace bitmill
