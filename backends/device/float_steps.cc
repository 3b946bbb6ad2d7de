// Float steps (kernels/opencl/float.cl): layers, chains, and operators that were not lowered.
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "backends/cpu/plan_values.h"
#include "backends/device/plan_writer.h"
#include "model/ops/op_support.h"

namespace bitmill {
namespace {

std::string NameOf(const Node& node) { return node.name.empty() ? node.op : node.name; }

bool IsOnnx(const Node& node) { return node.domain.empty() || node.domain == "ai.onnx"; }

// What a convolution and a dense layer have in common; `weights` are [outputs][...].
DeviceStep BeginLayer(const Tensor& weights, const std::vector<float>& bias, const Chain& chain,
                      const std::string& name, const DeviceValue& in, DeviceValue& out,
                      PlanWriter& writer) {
  writer.AddBuffer(out);
  DeviceStep step = writer.Begin("bm_conv_float", in, out);
  step.name = name;
  const absl::Span<const float> values = weights.span<float>();
  step[device::kWeights] = writer.AddConstant(values.data(), values.size() * sizeof(float));
  std::vector<float> start = bias;
  start.resize(static_cast<size_t>(out.channels), 0.0F);
  step[device::kBias] = writer.AddConstant(start);
  writer.SetChain(chain, step);
  step[device::kGroups] = 1;
  step[device::kItems] = static_cast<int32_t>(out.elements);
  step.weight_bytes = weights.bytes();
  step.macs = weights.elements() * out.pixels();
  writer.plan().exact = false;
  return step;
}

void SetDims(absl::Span<const int64_t> values, device::StepParam first, DeviceStep& step) {
  for (size_t d = 0; d < values.size(); ++d) {
    step.params[static_cast<size_t>(first) + d] = static_cast<int32_t>(values[d]);
  }
}

// A step of bm_strided over elements of `dims`; strides are those of the output.
DeviceStep BeginStrided(device::StridedKind kind, absl::Span<const int64_t> dims,
                        absl::Span<const int64_t> strides, const DeviceValue& in,
                        const DeviceValue& out, PlanWriter& writer) {
  DeviceStep step = writer.Begin("bm_strided", in, out);
  step[device::kOp] = kind;
  step[device::kRank] = static_cast<int32_t>(dims.size());
  SetDims(dims, device::kDims, step);
  SetDims(strides, device::kStridesOut, step);
  step[device::kItems] = static_cast<int32_t>(ElementCount(dims));
  return step;
}

std::optional<device::StridedKind> KindOf(const std::string& op, bool swapped) {
  if (op == "Add") return device::kStridedAdd;
  if (op == "Mul") return device::kStridedMul;
  if (op == "Sub") return swapped ? device::kStridedReverseSub : device::kStridedSub;
  if (op == "Div") return swapped ? device::kStridedReverseDiv : device::kStridedDiv;
  return std::nullopt;
}

bool AddBinaryNode(const Graph& graph, const Node& node, const std::vector<DeviceValue>& inputs,
                   DeviceValue& out, PlanWriter& writer) {
  if (inputs.size() != 2 || out.shape.size() > device::kMaxRank) return false;
  const bool swapped = inputs[0].buffer < 0;  // the first operand is in the arena
  const std::optional<device::StridedKind> kind = KindOf(node.op, swapped);
  if (!kind.has_value()) return false;
  const DeviceValue& a = inputs[swapped ? 1 : 0];
  const DeviceValue& b = inputs[swapped ? 0 : 1];
  if (a.buffer < 0 || a.dtype != DType::kFloat32 || b.dtype != DType::kFloat32) return false;
  writer.AddBuffer(out);
  DeviceStep step = BeginStrided(*kind, out.shape, RowMajorStrides(out.shape), a, out, writer);
  step.name = NameOf(node);
  SetDims(BroadcastStrides(a.shape, out.shape), device::kStridesA, step);
  SetDims(BroadcastStrides(b.shape, out.shape), device::kStridesB, step);
  if (b.buffer >= 0) {
    writer.Use(b.buffer);
    step.in2 = b.buffer;
  } else {
    const Tensor& constant = *graph.value(node.inputs[swapped ? 0 : 1]).constant;
    step[device::kIn2Constant] = 1;
    step[device::kIn2] = writer.AddConstant(constant.data(), static_cast<size_t>(constant.bytes()));
    step.weight_bytes = constant.bytes();
  }
  writer.Push(std::move(step));
  return true;
}

bool AddTransposeNode(const Node& node, const std::vector<DeviceValue>& inputs, DeviceValue& out,
                      PlanWriter& writer) {
  if (node.op != "Transpose" || inputs.size() != 1 || inputs[0].buffer < 0 ||
      out.shape.size() > device::kMaxRank || DTypeSize(out.dtype) != sizeof(float)) {
    return false;
  }
  const size_t rank = out.shape.size();
  const std::vector<int64_t>* const perm = AttrInts(node, "perm");
  const Shape from = RowMajorStrides(inputs[0].shape);
  Shape strides(rank, 0);
  for (size_t d = 0; d < rank; ++d) {
    strides[d] = from[perm != nullptr ? static_cast<size_t>((*perm)[d]) : rank - 1 - d];
  }
  writer.AddBuffer(out);
  DeviceStep step = BeginStrided(device::kStridedCopy, out.shape, RowMajorStrides(out.shape),
                                 inputs[0], out, writer);
  step.name = NameOf(node);
  SetDims(strides, device::kStridesA, step);
  writer.Push(std::move(step));
  return true;
}

bool AddConcatNode(const Node& node, const std::vector<DeviceValue>& inputs, DeviceValue& out,
                   PlanWriter& writer) {
  const auto rank = static_cast<int64_t>(out.shape.size());
  const absl::StatusOr<int64_t> axis = NormalizeAxis(AttrInt(node, "axis", 0), rank);
  if (node.op != "Concat" || !axis.ok() || rank > device::kMaxRank ||
      DTypeSize(out.dtype) != sizeof(float)) {
    return false;
  }
  for (const DeviceValue& input : inputs) {
    if (input.buffer < 0) return false;
  }
  writer.AddBuffer(out);
  const Shape strides = RowMajorStrides(out.shape);
  int64_t at = 0;
  for (const DeviceValue& input : inputs) {
    if (input.elements == 0) continue;
    DeviceStep step = BeginStrided(device::kStridedCopy, input.shape, strides, input, out, writer);
    step.name = NameOf(node);
    SetDims(RowMajorStrides(input.shape), device::kStridesA, step);
    step[device::kOffsetOut] = static_cast<int32_t>(at * strides[static_cast<size_t>(*axis)]);
    at += input.shape[static_cast<size_t>(*axis)];
    writer.Push(std::move(step));
  }
  return true;
}

bool AddPoolNode(const Graph& graph, const Node& node, const std::vector<DeviceValue>& inputs,
                 DeviceValue& out, PlanWriter& writer) {
  const std::optional<FloatPool> pool = FloatPoolOf(graph, node);
  if (!pool.has_value()) return false;
  const SlidingWindow& window = pool->window;
  writer.AddBuffer(out);
  DeviceStep step = writer.Begin("bm_pool_float", inputs[0], out);
  step.name = NameOf(node);
  const auto set = [&](device::StepParam first, const std::array<int64_t, 2>& values) {
    SetDims(values, first, step);  // of rows, then of columns
  };
  set(device::kKernelH, window.kernel);
  set(device::kStrideH, window.stride);
  set(device::kDilationH, window.dilation);
  set(device::kPadTop, window.pad_begin);
  set(device::kPadBottom, window.pad_end);
  step[device::kMaximum] = pool->maximum ? 1 : 0;
  step[device::kWithPadding] = pool->with_padding ? 1 : 0;
  step[device::kItems] = static_cast<int32_t>(out.elements);
  writer.Push(std::move(step));
  return true;
}

}  // namespace

void AddElementwise(const ElementwiseOp& op, const std::string& name, const DeviceValue& in,
                    DeviceValue& out, PlanWriter& writer) {
  writer.AddBuffer(out);
  DeviceStep step = writer.Begin("bm_elementwise", in, out);
  step.name = name;
  writer.SetChain(op.chain, step);
  step[device::kItems] = static_cast<int32_t>(out.elements);
  writer.Push(std::move(step));
}

void AddFloatConv(const FloatConvOp& op, const std::string& name, const DeviceValue& in,
                  DeviceValue& out, PlanWriter& writer) {
  DeviceStep step = BeginLayer(*op.weights, op.bias, op.chain, name, in, out, writer);
  SetWindow(op, op.weights->shape()[2], op.weights->shape()[3], step);
  step[device::kGroups] = static_cast<int32_t>(op.groups);
  writer.Push(std::move(step));
}

void AddFloatDense(const FloatDenseOp& op, const std::string& name, const DeviceValue& in,
                   DeviceValue& out, PlanWriter& writer) {
  // All elements of the input are channels of one pixel.
  DeviceValue flat = in;
  flat.channels = in.elements;
  flat.height = flat.width = 1;
  DeviceStep step = BeginLayer(*op.weights, op.bias, op.chain, name, flat, out, writer);
  step[device::kKernelH] = step[device::kKernelW] = 1;
  step[device::kStrideH] = step[device::kStrideW] = 1;
  step[device::kDilationH] = step[device::kDilationW] = 1;
  writer.Push(std::move(step));
}

bool AddFloatNode(const Graph& graph, const Node& node, const std::vector<DeviceValue>& inputs,
                  DeviceValue& out, PlanWriter& writer) {
  if (!IsOnnx(node) || inputs.empty() || out.elements == 0) return false;
  return AddPoolNode(graph, node, inputs, out, writer) ||
         AddTransposeNode(node, inputs, out, writer) || AddConcatNode(node, inputs, out, writer) ||
         AddBinaryNode(graph, node, inputs, out, writer);
}

}  // namespace bitmill
