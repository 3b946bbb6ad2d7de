// Data parallelism: several executables of one model, each of which computes some rows of a batch.
//
// A batch is cut into runs of rows that are predicted to take equally long (row_shares.h), and each
// is taken by the caller or by a helper. A batch for which no helper is to be had, or that is
// faster on one executable alone, is computed by that, on the caller's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "backends/backend.h"
#include "backends/parallel/row_shares.h"
#include "base/clock.h"
#include "base/fork_join.h"

namespace bitmill {

class DataExecutable final : public Executable {
 public:
  // Executables in the order of the shares' tables, of the same signature and for as many rows.
  // `shared_bytes`: of their weights in the host's memory that are counted more than once, since
  // executables share them.
  // `team` (null: no helpers) and `clock` outlive this. `title` is the first line of the plan.
  DataExecutable(std::vector<std::unique_ptr<Executable>> executables,
                 std::unique_ptr<RowShares> shares, int64_t shared_bytes, std::string title,
                 ForkJoin* team, const Clock& clock);

  const Signature& signature() const override { return first().signature(); }
  std::string backend_name() const override;
  int64_t max_rows() const override { return first().max_rows(); }
  int64_t weight_bytes() const override;
  int64_t arena_bytes() const override;
  std::vector<MemoryUse> memory(int64_t contexts) const override;
  int64_t row_macs() const override { return first().row_macs(); }
  ModelDivision division() const override;
  std::unique_ptr<ExecutionContext> CreateContext() const override;
  // The error of the first row that has one.
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override;
  // Operations and their times are those of the first executable, for the rows that it computed.
  absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                        OperationTimes& times) const override;
  std::vector<Operation> operations() const override { return first().operations(); }
  std::string DescribePlan() const override;

  const RowShares& shares() const { return *shares_; }

 private:
  struct Context;
  class SharedBatch;

  const Executable& first() const { return *executables_.front(); }
  absl::Status RunAll(const BatchRows& batch, Context& context, OperationTimes* times) const;
  // Rows of the batch that the context gives to the part.
  absl::Status RunPart(const BatchRows& batch, size_t part, Context& context,
                       OperationTimes* times) const;

  const std::vector<std::unique_ptr<Executable>> executables_;
  const std::unique_ptr<RowShares> shares_;
  const int64_t shared_bytes_;
  const std::string title_;
  ForkJoin* const team_;
  const Clock& clock_;
};

}  // namespace bitmill
