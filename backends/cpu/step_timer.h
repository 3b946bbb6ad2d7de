// Runs a plan on made-up rows and times each step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/workspace.h"
#include "base/aligned_buffer.h"

namespace bitmill {

// Rows for every port, and the tables of pointers that BatchRows wants.
class RowBuffers {
 public:
  RowBuffers(absl::Span<const TensorSpec> specs, int64_t count);
  // Floats get whole numbers of 0 to 255, always the same ones; all else stays zero.
  void Fill(absl::Span<const TensorSpec> specs);
  const std::vector<std::vector<std::byte*>>& rows() const { return rows_; }  // of each port

 private:
  std::vector<AlignedBuffer> memory_;
  std::vector<std::vector<std::byte*>> rows_;
};

class StepTimer {
 public:
  // `rows`: of the batch. `plan` outlives the timer.
  StepTimer(const Signature& signature, const Plan& plan, int64_t rows);
  StepTimer(const StepTimer&) = delete;
  StepTimer& operator=(const StepTimer&) = delete;

  // Runs the batch once, on this thread. micros[i]: of step i for all rows, by the wall clock.
  absl::Status Run(std::vector<double>& micros);

 private:
  const Plan& plan_;
  Workspace workspace_;
  RowBuffers inputs_, outputs_;
  std::vector<const std::byte* const*> input_ports_;
  std::vector<std::byte* const*> output_ports_;
  BatchRows batch_;
};

}  // namespace bitmill
