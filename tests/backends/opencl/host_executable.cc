#include "tests/backends/opencl/host_executable.h"

#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/aligned_buffer.h"
#include "base/status_macros.h"
#include "model/ops/op_registry.h"
#include "tests/backends/opencl/host_kernels.h"
#include "tests/kernels/cuda/tile_kernels.h"

namespace bitmill {
namespace {

constexpr size_t kLine = 100;  // items; the last line has some too many

class HostExecutable final : public Executable {
 public:
  HostExecutable(Signature signature, DevicePlan plan)
      : signature_(std::move(signature)), plan_(std::move(plan)), params_(plan_.Params()) {}

  const Signature& signature() const override { return signature_; }
  int64_t max_rows() const override { return plan_.max_rows; }
  int64_t weight_bytes() const override { return static_cast<int64_t>(plan_.constants.size()); }
  int64_t arena_bytes() const override { return plan_.arena_bytes; }
  int64_t row_macs() const override { return plan_.row_macs; }
  std::unique_ptr<ExecutionContext> CreateContext() const override {
    return std::make_unique<ExecutionContext>();
  }
  std::string DescribePlan() const override { return DescribeDevicePlan(plan_, "on the host"); }

  absl::Status Run(const BatchRows& batch, ExecutionContext&) const override {
    AlignedBuffer arena(plan_.arena_bytes);
    std::memset(arena.data(), 0xa5, static_cast<size_t>(arena.size()));  // what a device may hold
    for (size_t i = 0; i < plan_.inputs.size(); ++i) {
      for (int64_t r = 0; r < batch.rows; ++r) {
        std::memcpy(Row(arena, plan_.inputs[i].buffer, r), batch.inputs[i][r],
                    static_cast<size_t>(signature_.inputs[i].row_bytes));
      }
    }
    AlignedBuffer constants(static_cast<int64_t>(plan_.constants.size()));
    std::memcpy(constants.data(), plan_.constants.data(), plan_.constants.size());
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      const DeviceStep& step = plan_.steps[s];
      const size_t range[3] = {kLine, static_cast<size_t>(step[device::kItems]) / kLine + 1,
                               static_cast<size_t>(batch.rows)};
      if (step.host != nullptr) {
        BITMILL_RETURN_IF_ERROR(RunHostStep(*step.host, arena, batch.rows));
      } else if (step.tiles.threads > 0) {
        BITMILL_RETURN_IF_ERROR(
            RunTiles(step, static_cast<int32_t>(s), batch.rows, arena, constants));
      } else if (!RunHostKernel(step.kernel, arena.as<unsigned char>(),
                                constants.as<unsigned char>(), params_.data(),
                                static_cast<int32_t>(s), range)) {
        return absl::InternalError(absl::StrCat("no kernel ", step.kernel));
      }
    }
    for (size_t i = 0; i < plan_.outputs.size(); ++i) {
      for (int64_t r = 0; r < batch.rows; ++r) {
        const DevicePort& port = plan_.outputs[i];
        const void* const from =
            port.buffer >= 0 ? Row(arena, port.buffer, r) : port.constant->data();
        std::memcpy(batch.outputs[i][r], from,
                    static_cast<size_t>(signature_.outputs[i].row_bytes));
      }
    }
    return absl::OkStatus();
  }

 private:
  std::byte* Row(AlignedBuffer& arena, int32_t buffer, int64_t row) const {
    const DeviceBuffer& memory = plan_.buffers[static_cast<size_t>(buffer)];
    return arena.data() + memory.offset + row * memory.stride;
  }

  absl::Status RunTiles(const DeviceStep& step, int32_t number, int64_t rows, AlignedBuffer& arena,
                        AlignedBuffer& constants) const {
    const std::string& name = step.kernel_of(rows);
    const TileKernel* const kernel = FindTileKernel(name);
    if (kernel == nullptr) return absl::InternalError(absl::StrCat("no kernel ", name));
    const DeviceTiles& tiles = step.tiles_of(rows);
    if (tiles.pixels != kernel->pixels || tiles.outputs != kernel->outputs ||
        tiles.threads != kernel->threads || tiles.shared_bytes != kernel->shared_bytes) {
      return absl::InternalError(absl::StrCat(name, ": the plan launches other tiles"));
    }
    const auto groups = step.groups_of(rows);
    RunTileKernel(*kernel, static_cast<int>(groups[0]), static_cast<int>(groups[1]),
                  tiles.shared_bytes, arena.as<unsigned char>(), constants.as<unsigned char>(),
                  params_.data(), number, static_cast<int32_t>(rows));
    return absl::OkStatus();
  }

  absl::Status RunHostStep(const HostStep& host, AlignedBuffer& arena, int64_t rows) const {
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<TensorView> inputs;
      std::vector<MutableTensorView> outputs;
      for (const HostOperand& input : host.inputs) {
        const void* const data = input.constant != nullptr ? input.constant->data()
                                 : input.buffer >= 0       ? Row(arena, input.buffer, r)
                                                           : nullptr;
        inputs.push_back({input.dtype, input.shape, data});
      }
      for (const HostOperand& output : host.outputs) {
        outputs.push_back({output.dtype, output.shape,
                           output.buffer >= 0 ? Row(arena, output.buffer, r) : nullptr});
      }
      BITMILL_RETURN_IF_ERROR(
          FindOp(host.node.domain, host.node.op)->eval(host.node, host.opset, inputs, outputs));
    }
    return absl::OkStatus();
  }

  const Signature signature_;
  const DevicePlan plan_;
  const std::vector<int32_t> params_;
};

}  // namespace

std::unique_ptr<Executable> MakeHostExecutable(Signature signature, DevicePlan plan) {
  return std::make_unique<HostExecutable>(std::move(signature), std::move(plan));
}

}  // namespace bitmill
