// A model on the CPU and on devices: each batch is computed by the one where it is predicted to be
// finished first (batch_router.h). A device that fails is left alone from then on, and the batch
// that met the failure is routed again: the CPU is always there, so nothing is lost.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/backend.h"
#include "backends/batch_router.h"

namespace bitmill {

class RoutedExecutable final : public Executable {
 public:
  // The CPU's first, in the order of the router's tables, all of the same model: signatures are the
  // same, and all take as many rows as the first. `name`: "model 'digits'", for the log.
  RoutedExecutable(std::vector<std::unique_ptr<Executable>> executables,
                   std::unique_ptr<BatchRouter> router, std::string name);

  const Signature& signature() const override { return cpu().signature(); }
  std::string backend_name() const override { return "auto"; }
  int64_t max_rows() const override { return cpu().max_rows(); }
  int64_t weight_bytes() const override;  // of all backends
  int64_t arena_bytes() const override;
  std::vector<MemoryUse> memory(int64_t contexts) const override;
  int64_t row_macs() const override { return cpu().row_macs(); }
  std::unique_ptr<ExecutionContext> CreateContext() const override;
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override;
  // Operations and their times are those of the CPU; a batch that a device computes fills in none.
  absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                        OperationTimes& times) const override;
  std::vector<Operation> operations() const override { return cpu().operations(); }
  std::string DescribePlan() const override;
  BatchRouter* router() const override { return router_.get(); }

 private:
  const Executable& cpu() const { return *executables_.front(); }
  absl::Status RunRouted(const BatchRows& batch, ExecutionContext& context,
                         OperationTimes* times) const;

  const std::vector<std::unique_ptr<Executable>> executables_;
  const std::unique_ptr<BatchRouter> router_;
  const std::string name_;
};

// A report for people: what a batch of each size is predicted to take, where it goes and why, and
// what each backend has computed.
std::string DescribeRoutes(const RouteReport& report);

}  // namespace bitmill
