// A device that computes as the CPU does, from the lowered graph that it is given.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/cpu/cpu_backend.h"

namespace bitmill {

class OtherCpu final : public Backend {
 public:
  std::string name() const override { return "opencl"; }
  std::string device_name() const override { return "a device"; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    return cpu_->Prepare(graph, options);
  }
  absl::StatusOr<std::unique_ptr<Executable>> CompileBeside(
      const Graph& lowered, const Executable& cpu, double /*tune_seconds*/) const override {
    auto prepared = cpu_->PrepareLowered(lowered, {});
    if (!prepared.ok()) return prepared.status();
    return (*prepared)->MakeExecutable({cpu.max_rows(), 1});
  }

 private:
  const std::unique_ptr<Backend> cpu_ = CreateCpuBackend();
};

}  // namespace bitmill
