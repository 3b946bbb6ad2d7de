// A batch of zeros for any executable, for measuring, and whether there is memory to run one in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "backends/backend.h"

namespace bitmill {

class ZeroBatch {
 public:
  ZeroBatch(const Signature& signature, int64_t rows) : rows_(rows) {
    const auto count = static_cast<size_t>(rows);
    // All rows read the same zeros. Each has a place to write to, since threads may share a batch.
    for (const TensorSpec& input : signature.inputs) {
      input_rows_.emplace_back(count, NewZeros(input.row_bytes));
    }
    for (const TensorSpec& output : signature.outputs) {
      std::vector<std::byte*>& own = output_rows_.emplace_back();
      for (size_t r = 0; r < count; ++r) own.push_back(NewZeros(output.row_bytes));
    }
    for (const auto& port : input_rows_) inputs_.push_back(port.data());
    for (const auto& port : output_rows_) outputs_.push_back(port.data());
  }
  ZeroBatch(const ZeroBatch&) = delete;
  ZeroBatch& operator=(const ZeroBatch&) = delete;

  BatchRows rows() const { return {rows_, inputs_, outputs_}; }

 private:
  std::byte* NewZeros(int64_t bytes) {
    return memory_.emplace_back(static_cast<size_t>(bytes)).data();
  }

  const int64_t rows_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::vector<const std::byte*>> input_rows_;
  std::vector<std::vector<std::byte*>> output_rows_;
  std::vector<const std::byte* const*> inputs_;
  std::vector<std::byte* const*> outputs_;
};

// ResourceExhausted when one context of each executable and a batch of `rows` zeros take more of
// this machine's memory than that; 0: no limit. Devices have their own.
absl::Status CheckTrialFits(absl::Span<const Executable* const> executables, int64_t rows,
                            int64_t working_bytes);

}  // namespace bitmill
