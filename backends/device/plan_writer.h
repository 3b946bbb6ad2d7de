// Collects the steps, buffers and constants of a device plan, and what its steps have in common.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/device/device_plan.h"
#include "model/graph.h"
#include "model/lowered.h"

namespace bitmill {

// A value in the arena. Channels, height and width as lowered operations see the shape.
struct DeviceValue {
  int32_t buffer = -1;
  int64_t channels = 1, height = 1, width = 1, elements = 1;
  int64_t pixel_bytes = 0;  // bits and codes
  CodeInfo code;
  DType dtype = DType::kInvalid;
  Shape shape;

  bool bits() const { return code.kind == CodeKind::kBits; }
  bool coded() const { return code.kind != CodeKind::kNone; }
  int64_t pixels() const { return height * width; }
};

// How a value of this type, shape and code lies in memory; without a buffer. ResourceExhausted
// when kernels could not count its elements or bytes; Unimplemented when an image's first dimension
// is not 1.
absl::StatusOr<DeviceValue> DeviceValueOf(const Value& value);

class PlanWriter {
 public:
  explicit PlanWriter(int64_t max_rows) { plan_.max_rows = max_rows; }

  // Memory for a value, alive from the step that is made next.
  void AddBuffer(DeviceValue& value);
  // The step that is made next reads or writes it; after the last step: it is an output.
  void Use(int32_t buffer);

  // The place of a copy among the constants.
  int32_t AddConstant(const void* data, size_t bytes);
  template <typename T>
  int32_t AddConstant(const std::vector<T>& values) {
    return AddConstant(values.data(), values.size() * sizeof(T));
  }

  // A step from `in` to `out`, both in use from now on: images and their memory are filled in.
  DeviceStep Begin(const char* kernel, const DeviceValue& in, const DeviceValue& out);
  void Push(DeviceStep step) { plan_.steps.push_back(std::move(step)); }

  // Sets kChain and kChainSteps.
  void SetChain(const Chain& chain, DeviceStep& step);
  static void SetQuantizer(const Quantizer& quantizer, DeviceStep& step);

  DevicePlan& plan() { return plan_; }
  // Places the buffers and gives every step its memory. ResourceExhausted when the arena or the
  // constants are too large for a step's parameters.
  absl::StatusOr<DevicePlan> Finish();

 private:
  DevicePlan plan_;
};

// Places the buffers for plan.max_rows rows and tells the steps. ResourceExhausted when arena or
// constants are too large for a step's parameters.
absl::Status PlaceBuffers(DevicePlan& plan);

// The window of a convolution or pool: anything with these fields.
template <typename Op>
void SetWindow(const Op& op, int64_t kernel_h, int64_t kernel_w, DeviceStep& step) {
  step[device::kKernelH] = static_cast<int32_t>(kernel_h);
  step[device::kKernelW] = static_cast<int32_t>(kernel_w);
  step[device::kStrideH] = static_cast<int32_t>(op.stride_h);
  step[device::kStrideW] = static_cast<int32_t>(op.stride_w);
  step[device::kDilationH] = static_cast<int32_t>(op.dilation_h);
  step[device::kDilationW] = static_cast<int32_t>(op.dilation_w);
  step[device::kPadTop] = static_cast<int32_t>(op.pad_top);
  step[device::kPadLeft] = static_cast<int32_t>(op.pad_left);
}

// The bits of a float, as kernels read them from a parameter.
inline int32_t BitsOf(float value) {
  int32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// One function an operation; each adds its step or steps. `in` has a buffer, `out` gets one.
absl::Status AddLowBitConv(const LowBitConvOp& op, const std::string& name, const DeviceValue& in,
                           DeviceValue& out, const ChooseConvTile& choose, PlanWriter& writer);
// The same convolution once for each tile, one packing for all of a kernel; `out` is the last
// one's.
absl::Status AddTiles(const LowBitConvOp& op, const std::vector<ConvTile>& tiles,
                      const DeviceValue& in, DeviceValue& out, PlanWriter& writer);
void AddQuantize(const QuantizeOp& op, const std::string& name, const DeviceValue& in,
                 DeviceValue& out, PlanWriter& writer);
void AddDequantize(const std::string& name, const DeviceValue& in, DeviceValue& out,
                   PlanWriter& writer);
void AddLowBitPool(const LowBitMaxPoolOp& op, const std::string& name, const DeviceValue& in,
                   DeviceValue& out, PlanWriter& writer);
void AddCodeTranspose(const std::string& name, const DeviceValue& in, DeviceValue& out,
                      PlanWriter& writer);
void AddElementwise(const ElementwiseOp& op, const std::string& name, const DeviceValue& in,
                    DeviceValue& out, PlanWriter& writer);
void AddFloatConv(const FloatConvOp& op, const std::string& name, const DeviceValue& in,
                  DeviceValue& out, PlanWriter& writer);
void AddFloatDense(const FloatDenseOp& op, const std::string& name, const DeviceValue& in,
                   DeviceValue& out, PlanWriter& writer);

// A node that was not lowered: true when there is a kernel for it, and its step was added.
// `inputs` are those that are computed; constants have no buffer.
bool AddFloatNode(const Graph& graph, const Node& node, const std::vector<DeviceValue>& inputs,
                  DeviceValue& out, PlanWriter& writer);

}  // namespace bitmill
