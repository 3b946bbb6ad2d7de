#include "tests/backends/cpu/plan_runner.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_executable.h"
#include "base/status_macros.h"
#include "kernels/isa.h"

namespace bitmill {
namespace {

constexpr std::byte kGuard{0x5a};
constexpr size_t kGuardBytes = 64;

// A block whose data is aligned to exactly `alignment`, with guard bytes behind it.
class Block {
 public:
  Block(size_t bytes, size_t alignment)
      : memory_(bytes + 2 * kGuardBytes + 128, kGuard), bytes_(bytes) {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    offset_ = (128 - address % 128) % 128 + alignment;
  }
  std::byte* data() { return memory_.data() + offset_; }
  bool GuardsHold() {
    const std::byte* const end = data() + bytes_;
    return std::all_of(end, end + kGuardBytes, [](std::byte b) { return b == kGuard; }) &&
           (offset_ == 0 || data()[-1] == kGuard);
  }

 private:
  std::vector<std::byte> memory_;
  size_t bytes_, offset_ = 0;
};

}  // namespace

Signature SignatureOfLowered(const Graph& graph) {
  Signature signature;
  signature.batchable = graph.batchable;
  const auto spec = [&](const GraphPort& port) {
    const Value& value = graph.value(port.value);
    TensorSpec result;
    result.name = port.name;
    result.dtype = value.dtype;
    result.row_shape.assign(value.shape.begin() + 1, value.shape.end());
    result.row_bytes = ElementCount(value.shape) * DTypeSize(value.dtype);
    return result;
  };
  for (const GraphPort& port : graph.inputs) signature.inputs.push_back(spec(port));
  for (const GraphPort& port : graph.outputs) signature.outputs.push_back(spec(port));
  return signature;
}

std::vector<std::string> IsasToTest() {
  std::vector<std::string> names;
  for (const Isa isa : kAllIsas) {
    if (IsaAllows(BestIsa(), isa)) names.emplace_back(IsaName(isa));
  }
  return names;
}

absl::StatusOr<std::unique_ptr<Executable>> CompileLowered(const Graph& lowered,
                                                           const std::string& isa,
                                                           int64_t max_rows) {
  BITMILL_ASSIGN_OR_RETURN(const KernelSet kernels, SelectKernels(isa));
  BITMILL_ASSIGN_OR_RETURN(Plan plan, BuildPlan(lowered, kernels, max_rows));
  return std::make_unique<CpuExecutable>(SignatureOfLowered(lowered), std::move(plan), max_rows,
                                         "test");
}

absl::StatusOr<std::unique_ptr<Executable>> CompileShared(const Graph& lowered,
                                                          const std::string& isa, int64_t max_rows,
                                                          ForkJoin& team) {
  constexpr double kLong = 1e6;
  BITMILL_ASSIGN_OR_RETURN(const KernelSet kernels, SelectKernels(isa));
  BITMILL_ASSIGN_OR_RETURN(Plan plan, BuildPlan(lowered, kernels, max_rows, team.width()));
  std::fill(plan.step_micros.begin(), plan.step_micros.end(), kLong);
  plan.row_micros = plan.parted_micros = kLong;
  return std::make_unique<CpuExecutable>(SignatureOfLowered(lowered), std::move(plan), max_rows,
                                         "test", "", &team);
}

absl::StatusOr<std::vector<RowBytes>> RunRows(const Executable& executable,
                                              absl::Span<const RowBytes> rows, int64_t batch_rows,
                                              size_t alignment) {
  const Signature& signature = executable.signature();
  const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
  std::vector<RowBytes> results(rows.size());
  for (size_t first = 0; first < rows.size(); first += static_cast<size_t>(batch_rows)) {
    const size_t count = std::min(static_cast<size_t>(batch_rows), rows.size() - first);
    std::vector<std::vector<Block>> inputs(signature.inputs.size());
    std::vector<std::vector<Block>> outputs(signature.outputs.size());
    std::vector<std::vector<const std::byte*>> input_rows(inputs.size());
    std::vector<std::vector<std::byte*>> output_rows(outputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      for (size_t r = 0; r < count; ++r) {
        const std::vector<std::byte>& bytes = rows[first + r][i];
        inputs[i].emplace_back(bytes.size(), alignment);
        std::copy(bytes.begin(), bytes.end(), inputs[i].back().data());
      }
      for (Block& block : inputs[i]) input_rows[i].push_back(block.data());
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      for (size_t r = 0; r < count; ++r) {
        outputs[i].emplace_back(static_cast<size_t>(signature.outputs[i].row_bytes), alignment);
      }
      for (Block& block : outputs[i]) output_rows[i].push_back(block.data());
    }
    std::vector<const std::byte* const*> input_ports;
    for (const auto& port : input_rows) input_ports.push_back(port.data());
    std::vector<std::byte* const*> output_ports;
    for (const auto& port : output_rows) output_ports.push_back(port.data());
    const BatchRows batch{static_cast<int64_t>(count), input_ports, output_ports};
    BITMILL_RETURN_IF_ERROR(executable.Run(batch, *context));
    for (size_t r = 0; r < count; ++r) {
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (!outputs[i][r].GuardsHold()) {
          return absl::InternalError(absl::StrCat("row ", r, " of output ", i, " wrote outside"));
        }
        const std::byte* const data = outputs[i][r].data();
        results[first + r].emplace_back(data, data + signature.outputs[i].row_bytes);
      }
    }
  }
  return results;
}

}  // namespace bitmill
