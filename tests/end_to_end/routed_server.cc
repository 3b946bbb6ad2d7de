// `bitmill serve` with a device made for tests: the CPU's own kernels, under the name "device".
// What is called the CPU takes some time longer for each batch, so that batches go to the device;
// while a file is there, each batch on the device takes longer still. Both wait asleep, so that
// what is measured hardly depends on what else the machine does.
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "backends/auto_backend.h"
#include "backends/backend.h"
#include "backends/cpu/cpu_backend.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "tools/cli.h"
#include "tools/cmd_serve.h"

namespace bitmill {
namespace {

struct Delays {
  double cpu_ms = 0;      // of each batch on the CPU
  double slow_ms = 0;     // of each batch on the device, while it is slow
  std::string slow_file;  // it is while this is there
};

class DelayedExecutable final : public Executable {
 public:
  // `only_if`: a file; empty: always.
  DelayedExecutable(std::unique_ptr<Executable> inner, std::string name, double delay_ms,
                    std::string only_if)
      : inner_(std::move(inner)),
        name_(std::move(name)),
        delay_(absl::Milliseconds(delay_ms)),
        only_if_(std::move(only_if)) {}

  const Signature& signature() const override { return inner_->signature(); }
  std::string backend_name() const override { return name_; }
  int64_t max_rows() const override { return inner_->max_rows(); }
  int64_t weight_bytes() const override { return inner_->weight_bytes(); }
  int64_t arena_bytes() const override { return inner_->arena_bytes(); }
  int64_t row_macs() const override { return inner_->row_macs(); }
  std::unique_ptr<ExecutionContext> CreateContext() const override {
    return inner_->CreateContext();
  }
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override {
    if (only_if_.empty() || access(only_if_.c_str(), F_OK) == 0) absl::SleepFor(delay_);
    return inner_->Run(batch, context);
  }
  std::string DescribePlan() const override { return inner_->DescribePlan(); }

 private:
  const std::unique_ptr<Executable> inner_;
  const std::string name_;
  const absl::Duration delay_;
  const std::string only_if_;
};

class DelayedModel final : public PreparedModel {
 public:
  DelayedModel(std::unique_ptr<PreparedModel> inner, double delay_ms)
      : inner_(std::move(inner)), delay_ms_(delay_ms) {}
  const Signature& signature() const override { return inner_->signature(); }
  absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) override {
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> inner, inner_->MakeExecutable(limits));
    return std::make_unique<DelayedExecutable>(std::move(inner), "cpu", delay_ms_, "");
  }
  absl::Status Save(const std::string& path, const PlanSource& source) const override {
    return inner_->Save(path, source);
  }

 private:
  const std::unique_ptr<PreparedModel> inner_;
  const double delay_ms_;
};

class SlowCpu final : public Backend {
 public:
  explicit SlowCpu(double delay_ms) : delay_ms_(delay_ms) {}
  std::string name() const override { return "cpu"; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    return Delayed(kernels_->Prepare(graph, options));
  }
  absl::StatusOr<std::unique_ptr<PreparedModel>> PrepareLowered(
      Graph lowered, const CompileOptions& options) const override {
    return Delayed(kernels_->PrepareLowered(std::move(lowered), options));
  }

 private:
  absl::StatusOr<std::unique_ptr<PreparedModel>> Delayed(
      absl::StatusOr<std::unique_ptr<PreparedModel>> inner) const {
    if (!inner.ok()) return inner.status();
    return std::make_unique<DelayedModel>(*std::move(inner), delay_ms_);
  }

  const std::unique_ptr<Backend> kernels_ = CreateCpuBackend();
  const double delay_ms_;
};

class DeviceBackend final : public Backend {
 public:
  explicit DeviceBackend(Delays delays) : delays_(std::move(delays)) {}
  std::string name() const override { return "device"; }
  std::string device_name() const override { return "made for tests"; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(const Graph&,
                                                         const CompileOptions&) const override {
    return absl::UnimplementedError("the device computes beside the CPU alone");
  }
  absl::StatusOr<std::unique_ptr<Executable>> CompileBeside(
      const Graph& lowered, const Executable& cpu, double /*tune_seconds*/) const override {
    CompileOptions options;
    options.max_rows = cpu.max_rows();
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<PreparedModel> prepared,
                             kernels_->PrepareLowered(lowered, options));
    BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> inner,
                             prepared->MakeExecutable({cpu.max_rows(), 1}));
    return std::make_unique<DelayedExecutable>(std::move(inner), "device", delays_.slow_ms,
                                               delays_.slow_file);
  }

 private:
  const Delays delays_;
  const std::unique_ptr<Backend> kernels_ = CreateCpuBackend();
};

// Owns what "auto" borrows.
class RoutedBackend final : public Backend {
 public:
  RoutedBackend(const Delays& delays, const AutoOptions& options)
      : cpu_(delays.cpu_ms),
        device_(delays),
        auto_(CreateAutoBackend(cpu_, {&device_}, options, clock_)) {}
  std::string name() const override { return auto_->name(); }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const override {
    return auto_->Prepare(graph, options);
  }
  absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const override {
    return auto_->OpenPlan(path, model_owner, options);
  }

 private:
  const SystemClock clock_{};
  const SlowCpu cpu_;
  const DeviceBackend device_;
  const std::unique_ptr<Backend> auto_;
};

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) {
  CLI::App app("bitmill serve, routed to a device made for tests.", "bitmill_routed_server");
  bitmill::ServeOptions options;
  bitmill::Delays delays;
  bitmill::AddServeOptions(app, options);
  app.add_option("--cpu-ms", delays.cpu_ms, "Milliseconds that batches on the CPU take longer")
      ->required();
  app.add_option("--slow-file", delays.slow_file, "The device is slow while this file is there")
      ->required();
  app.add_option("--slow-ms", delays.slow_ms, "Milliseconds that its batches then take longer")
      ->required();
  CLI11_PARSE(app, argc, argv);
  const bitmill::AutoOptions routing{.measure_ns = options.route_ms * 1'000'000, .cpu_lanes = 2};
  const bitmill::ServeParts parts{.wrap_backend = [&](std::unique_ptr<bitmill::Backend>) {
    return std::make_unique<bitmill::RoutedBackend>(delays, routing);
  }};
  return bitmill::RunServe(options, parts);
}
