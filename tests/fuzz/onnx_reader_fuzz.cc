// Any bytes as an ONNX file: a status or a graph, and a graph that was accepted verifies, lowers
// and, where that is quick, runs.
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/node_eval.h"
#include "model/onnx/onnx_reader.h"
#include "model/passes/passes.h"
#include "model/reference.h"
#include "model/verify.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxSteps = 1 << 18;

// Whether the reference runs the graph in a few milliseconds.
bool IsQuick(const Graph& graph) {
  int64_t steps = 0;
  for (const Node& node : graph.nodes) {
    std::vector<InputInfo> inputs;
    for (const ValueId id : node.inputs) {
      inputs.emplace_back();
      if (id == kNoValue) continue;
      inputs.back().dtype = graph.value(id).dtype;
      inputs.back().shape = graph.value(id).shape;
    }
    std::vector<TensorType> outputs;
    for (const ValueId id : node.outputs) {
      if (id != kNoValue) outputs.push_back({graph.value(id).dtype, graph.value(id).shape});
    }
    const int64_t cost = EvaluationCost(node, inputs, outputs);
    if (cost > kMaxSteps || steps + cost > kMaxSteps) return false;
    steps += cost;
  }
  return true;
}

void Run(const Graph& graph) {
  std::vector<Tensor> inputs;
  std::vector<TensorView> views;
  for (const GraphPort& port : graph.inputs) {
    const Value& value = graph.value(port.value);
    auto tensor = Tensor::Create(value.dtype, value.shape);
    if (!tensor.ok() || tensor->bytes() > kMaxSteps) return;
    auto* bytes = static_cast<uint8_t*>(tensor->data());
    for (int64_t i = 0; i < tensor->bytes(); ++i) bytes[i] = static_cast<uint8_t>(i * 37);
    if (value.dtype == DType::kBool) {
      for (uint8_t& element : tensor->span<uint8_t>()) element &= 1;
    }
    inputs.push_back(*std::move(tensor));
  }
  for (const Tensor& input : inputs) views.push_back(input.view());
  const auto outputs = RunReference(graph, views);
  if (outputs.ok()) BITMILL_CHECK(outputs->size() == graph.outputs.size());
}

}  // namespace
}  // namespace bitmill

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto graph = bitmill::ReadOnnx(bytes, "fuzz");
  if (!graph.ok()) return 0;
  BITMILL_CHECK(bitmill::VerifyGraph(*graph).ok());
  if (!bitmill::IsQuick(*graph)) return 0;
  bitmill::Run(*graph);
  const auto lowered = bitmill::Lower(*std::move(graph));
  BITMILL_CHECK(lowered.ok() || !absl::IsInternal(lowered.status()));
  return 0;
}
