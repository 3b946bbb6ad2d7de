// A model that gives back its inputs: output i is input i, row by row. It can be told to wait, to
// fail, and it remembers the batches that it ran.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "base/mutex.h"

namespace bitmill {

inline TensorSpec MakeSpec(std::string name, DType dtype, std::vector<int64_t> row_shape) {
  int64_t bytes = DTypeSize(dtype);
  for (const int64_t size : row_shape) bytes *= size;
  return {std::move(name), dtype, std::move(row_shape), bytes};
}

// One input "x" and one output "y" of one type and shape.
inline Signature IdentitySignature(DType dtype, std::vector<int64_t> row_shape,
                                   bool batchable = true) {
  return {{MakeSpec("x", dtype, row_shape)}, {MakeSpec("y", dtype, row_shape)}, batchable};
}

class FakeExecutable final : public Executable {
 public:
  // Outputs pair with inputs of the same size.
  FakeExecutable(Signature signature, int64_t max_rows)
      : signature_(std::move(signature)), max_rows_(signature_.batchable ? max_rows : 1) {}

  const Signature& signature() const override { return signature_; }
  std::string backend_name() const override { return backend; }
  int64_t max_rows() const override { return max_rows_; }
  int64_t weight_bytes() const override { return 0; }
  int64_t arena_bytes() const override { return arena; }
  int64_t row_macs() const override { return 0; }
  std::unique_ptr<ExecutionContext> CreateContext() const override {
    return std::make_unique<ExecutionContext>();
  }
  ModelDivision division() const override { return divided; }
  std::string DescribePlan() const override { return "identity\n"; }

  absl::Status Run(const BatchRows& batch, ExecutionContext&) const override {
    if (before_run) {
      const absl::Status status = before_run(batch);
      if (!status.ok()) return status;
    }
    if (remember) {
      MutexLock lock(&mutex_);
      batches_.push_back(batch.rows);
    }
    for (size_t i = 0; i < signature_.outputs.size(); ++i) {
      const auto bytes = static_cast<size_t>(signature_.outputs[i].row_bytes);
      for (int64_t r = 0; r < batch.rows; ++r) {
        std::memcpy(batch.outputs[i][r], batch.inputs[i][r], bytes);
      }
    }
    return absl::OkStatus();
  }

  // Rows of the batches that ran, in their order.
  std::vector<int64_t> batches() const {
    MutexLock lock(&mutex_);
    return batches_;
  }

  // Set these before the model is used.
  std::function<absl::Status(const BatchRows&)> before_run;
  bool remember = true;
  int64_t arena = 0;
  std::string backend = "cpu";
  ModelDivision divided;  // what division() says

 private:
  const Signature signature_;
  const int64_t max_rows_;
  mutable Mutex mutex_;
  mutable std::vector<int64_t> batches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace bitmill
